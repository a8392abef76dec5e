// Arithmetic, comparisons, functions of one number, activations.
#include <functional>

#include "replay.h"

namespace heed::replay {
namespace {

/// The other operand, times alpha where that is given.
Tensor scaled_other(Case const& c, Tensor const& x) {
  Tensor const other = c.operand(1, "other", x);
  return c.has("alpha") ? other * c.operand(-1, "alpha", other) : other;
}

template <Tensor (*f)(Tensor const&, Tensor const&)>
Outputs reversed(Case const& c) {
  Tensor const x = c(0, "input");
  return f(c.operand(1, "other", x), x);
}

template <class Relation>
Outputs compare(Case const& c) {
  return Tensor(Relation{}(c(0), c.operand(1, "other", c(0))));
}

Outputs divide(Case const& c) {
  if (c.has("rounding_mode")) throw Lacking("op div with rounding_mode");
  return binary<div>(c);
}

Outputs clamp_between(Case const& c) {
  if (c.maybe("min").defined() || c.maybe("max").defined()) throw Lacking("op clamp with tensor bounds");
  double const limit = std::numeric_limits<double>::infinity();
  return clamp(c(0), c.real("min", -limit), c.real("max", limit));
}

Outputs choose(Case const& c) {
  Tensor const condition = c(0, "condition");
  Tensor const a = c.maybe(1, "input|self"), b = c.maybe(2, "other");
  if (a.defined()) return where(condition, a, b.defined() ? b : c.operand(-1, "other", a));
  if (!b.defined()) throw Malformed("expected a tensor for where to choose from");
  return where(condition, c.operand(-1, "input|self", b), b);
}

constexpr Row rows[] = {
    {"__radd__", reversed<add>}, {"__rdiv__", reversed<div>}, {"__rmul__", reversed<mul>}, {"__rpow__", reversed<pow>},
    {"__rsub__", reversed<sub>}, {"abs", unary<abs>},
    {"add", [](Case const& c) -> Outputs { return add(c(0), scaled_other(c, c(0))); }}, {"ceil", unary<ceil>},
    {"clamp", clamp_between}, {"cos", unary<cos>}, {"div", divide}, {"eq", compare<std::equal_to<>>},
    {"erf", unary<erf>}, {"exp", unary<exp>}, {"expm1", unary<expm1>}, {"floor", unary<floor>},
    {"ge", compare<std::greater_equal<>>}, {"gt", compare<std::greater<>>}, {"le", compare<std::less_equal<>>},
    {"log", unary<log>}, {"log1p", unary<log1p>}, {"lt", compare<std::less<>>},
    {"masked_fill",
     [](Case const& c) -> Outputs { return where(c(1, "mask"), c.operand(2, "value", c(0)).to(c(0).dtype()), c(0)); }},
    {"maximum", binary<maximum>}, {"minimum", binary<minimum>}, {"mul", binary<mul>},
    {
        "ne",
        binary < operator!=> },
        {"neg", unary<neg>},
        {"positive", [](Case const& c) -> Outputs { return c(0); }},
        {"pow", [](Case const& c) -> Outputs { return pow(c(0), c.operand(1, "exponent", c(0))); }},
        {"reciprocal", unary<reciprocal>},
        {"round", unary<round>},
        {"rsqrt", unary<rsqrt>},
        {"rsub",
         [](Case const& c) -> Outputs {
           return sub(c.operand(1, "other", c(0)), c.has("alpha") ? c(0) * c.operand(-1, "alpha", c(0)) : c(0));
         }},
        {"sigmoid", unary<sigmoid>},
        {"sign", unary<sign>},
        {"sin", unary<sin>},
        {"sqrt", unary<sqrt>},
        {"square", unary<square>},
        {"sub", [](Case const& c) -> Outputs { return sub(c(0), scaled_other(c, c(0))); }},
        {"tanh", unary<tanh>},
        {"trunc", unary<trunc>},
        {"where", choose},
        // Activations.
        {"elu", [](Case const& c) -> Outputs { return elu(c(0), c.real("alpha", 1)); }},
        {"gelu",
         [](Case const& c) -> Outputs {
           return c.text("approximate", "none") == "tanh" ? gelu_tanh(c(0)) : gelu(c(0));
         }},
        {"leaky_relu", [](Case const& c) -> Outputs { return leaky_relu(c(0), c.real("negative_slope", 0.01)); }},
        {"logsigmoid", unary<log_sigmoid>},
        {"mish", unary<mish>},
        {"relu", unary<relu>},
        {"silu", unary<silu>},
    };

}  // namespace

std::span<Row const> pointwise_rows() { return rows; }

}  // namespace heed::replay
