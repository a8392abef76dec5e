// Pointwise operations.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

constexpr double tiny = 0x1p-140;  // denormal in f32
constexpr int64_t big = 30011;

/// Where the makers below put their records.
std::vector<OpCase>& list() {
  static std::vector<OpCase> records;
  return records;
}

std::vector<Shapes> const unary_shapes = {{{3, 5}}, {{}},   {{1}}, {{7}},       {{8}},    {{9}},
                                          {{17}},   {{33}}, {{0}}, {{2, 0, 3}}, {{4, 65}}};

OpCase& unary(std::string name, std::function<Tensor(Tensor const&)> f, double (*formula)(double), Input in,
              std::vector<Special> special = {}) {
  OpCase c{.name = name,
           .covers = name.substr(0, name.find(' ')),
           .inputs = {std::move(in)},
           .shapes = unary_shapes,
           .op = [f](Tensors const& x) { return Tensors{f(x[0])}; },
           .scalar = [formula](double const* x) { return formula(x[0]); }};
  c.elementwise_bits = true;
  c.large = {{3, big}};
  c.special = std::move(special);
  bool const says_nan =
      std::any_of(c.special.begin(), c.special.end(), [](Special const& s) { return std::isnan(s.in[0]); });
  if (!says_nan) c.special.push_back({{nan_}, nan_});
  c.bad.push_back({[f] { f(Tensor()); }, {"expected a tensor, got an undefined one"}});
  list().push_back(std::move(c));
  return list().back();
}

std::vector<Shapes> const binary_shapes = {{{3, 5}, {3, 5}},   {{3, 1}, {1, 5}}, {{}, {4}},        {{2, 3, 5}, {5}},
                                           {{}, {}},           {{1}, {9}},       {{7}, {7}},       {{17}, {17}},
                                           {{33}, {1}},        {{0, 3}, {1, 3}}, {{2, 0}, {2, 0}}, {{4, 65}, {4, 1}},
                                           {{5, 1, 9}, {6, 1}}};

OpCase& binary(std::string name, std::string covers, std::function<Tensor(Tensor const&, Tensor const&)> f,
               double (*formula)(double, double), Input a, Input b, std::vector<Special> special = {}) {
  OpCase c{.name = name,
           .covers = covers,
           .inputs = {std::move(a), std::move(b)},
           .shapes = binary_shapes,
           .op = [f](Tensors const& x) { return Tensors{f(x[0], x[1])}; },
           .scalar = [formula](double const* x) { return formula(x[0], x[1]); }};
  c.elementwise_bits = true;
  c.large = {{3, big}, {3, big}};
  c.special = std::move(special);
  c.bad = {{[f] { f(Tensor(), ones({2})); }, {"expected a tensor, got an undefined one"}},
           {[f] { f(ones({2}), Tensor()); }, {"expected a tensor, got an undefined one"}},
           {[f] {
              f(ones({2, 3}), ones({4}));
            },
            {"[2, 3]", "[4]", "axis -1", "sizes 3 and 4", "Remedy"}}};
  list().push_back(std::move(c));
  return list().back();
}

double phi(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.)); }

void pointwise_cases() {
  Input const any = real(), positive = real(0.2, 3), off_zero = real(-2, 2, {0});
  unary("neg", heed::neg, [](double x) { return -x; }, any, {{{0}, -0.}, {{inf}, -inf}, {{tiny}, -tiny}});
  unary(
      "operator- unary", [](Tensor const& x) { return -x; }, [](double x) { return -x; }, any);
  unary("abs", heed::abs, [](double x) { return std::abs(x); }, off_zero, {{{-0.}, 0}, {{-inf}, inf}, {{-tiny}, tiny}});
  unary("sign", heed::sign, [](double x) { return double((x > 0) - (x < 0)); }, off_zero,
        {{{nan_}, 0}, {{-0.}, 0}, {{-inf}, -1}, {{tiny}, 1}});
  unary("square", heed::square, [](double x) { return x * x; }, any, {{{-inf}, inf}, {{-0.}, 0}});
  unary("sqrt", heed::sqrt, [](double x) { return std::sqrt(x); }, positive,
        {{{-1}, nan_}, {{-0.}, -0.}, {{inf}, inf}, {{tiny}, 0x1p-70}});
  unary("rsqrt", heed::rsqrt, [](double x) { return 1 / std::sqrt(x); }, positive,
        {{{-1}, nan_}, {{0}, inf}, {{inf}, 0}});
  unary("reciprocal", heed::reciprocal, [](double x) { return 1 / x; }, positive,
        {{{0}, inf}, {{-0.}, -inf}, {{-inf}, -0.}});
  unary("exp", heed::exp, [](double x) { return std::exp(x); }, any,
        {{{inf}, inf}, {{-inf}, 0}, {{0}, 1}, {{1e4}, inf}, {{-1e4}, 0}, {{tiny}, 1}});
  unary("expm1", heed::expm1, [](double x) { return std::expm1(x); }, any,
        {{{inf}, inf}, {{-inf}, -1}, {{-0.}, -0.}, {{tiny}, tiny}});
  unary("log", heed::log, [](double x) { return std::log(x); }, positive,
        {{{0}, -inf}, {{-0.}, -inf}, {{-1}, nan_}, {{inf}, inf}, {{1}, 0}});
  unary("log1p", heed::log1p, [](double x) { return std::log1p(x); }, real(-0.7, 2),
        {{{-1}, -inf}, {{-2}, nan_}, {{inf}, inf}, {{-0.}, -0.}});
  unary("sin", heed::sin, [](double x) { return std::sin(x); }, real(-7, 7),
        {{{inf}, nan_}, {{-inf}, nan_}, {{-0.}, -0.}});
  unary("cos", heed::cos, [](double x) { return std::cos(x); }, real(-7, 7), {{{inf}, nan_}, {{-inf}, nan_}, {{0}, 1}});
  unary("tanh", heed::tanh, [](double x) { return std::tanh(x); }, any,
        {{{inf}, 1}, {{-inf}, -1}, {{-0.}, -0.}, {{100}, 1}});
  unary("erf", heed::erf, [](double x) { return std::erf(x); }, any, {{{inf}, 1}, {{-inf}, -1}, {{-0.}, -0.}});
  Input const off_halves = real(-3, 3, {-3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3});
  unary("floor", heed::floor, [](double x) { return std::floor(x); }, off_halves,
        {{{-0.}, -0.}, {{inf}, inf}, {{-0.5}, -1}, {{2.5}, 2}});
  unary("ceil", heed::ceil, [](double x) { return std::ceil(x); }, off_halves,
        {{{-0.5}, -0.}, {{-inf}, -inf}, {{2.5}, 3}});
  unary("round", heed::round, [](double x) { return std::nearbyint(x); }, off_halves,
        {{{0.5}, 0}, {{1.5}, 2}, {{2.5}, 2}, {{-0.5}, -0.}, {{inf}, inf}});
  unary("trunc", heed::trunc, [](double x) { return std::trunc(x); }, off_halves,
        {{{-0.5}, -0.}, {{2.5}, 2}, {{-2.5}, -2}, {{-inf}, -inf}});
  unary(
      "clamp", [](Tensor const& x) { return clamp(x, -1, 0.5); },
      [](double x) { return std::min(std::max(x, -1.), 0.5); }, real(-2, 2, {-1, 0.5}), {{{inf}, 0.5}, {{-inf}, -1}});
  unary("sigmoid", heed::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, any,
        {{{inf}, 1}, {{-inf}, 0}, {{0}, 0.5}});
  unary("log_sigmoid", heed::log_sigmoid, [](double x) { return -std::log1p(std::exp(-x)); }, any,
        {{{-inf}, -inf}, {{-1000}, -1000}});
  unary("softplus", heed::softplus, [](double x) { return std::log1p(std::exp(x)); }, any,
        {{{inf}, inf}, {{-inf}, 0}, {{1000}, 1000}});
  unary("relu", heed::relu, [](double x) { return x > 0 ? x : 0; }, off_zero,
        {{{inf}, inf}, {{-inf}, 0}, {{tiny}, tiny}});
  unary(
      "leaky_relu", [](Tensor const& x) { return leaky_relu(x, 0.2); }, [](double x) { return x > 0 ? x : 0.2 * x; },
      off_zero, {{{inf}, inf}, {{-inf}, -inf}});
  unary(
      "elu", [](Tensor const& x) { return elu(x, 1.5); }, [](double x) { return x > 0 ? x : 1.5 * std::expm1(x); },
      off_zero, {{{inf}, inf}, {{-inf}, -1.5}});
  unary("gelu", heed::gelu, [](double x) { return x * phi(x); }, any, {{{inf}, inf}, {{-inf}, nan_}, {{0}, 0}});
  unary("gelu_tanh", heed::gelu_tanh,
        [](double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286541 * (x + 0.044715 * x * x * x))); }, any,
        {{{inf}, inf}, {{-inf}, nan_}, {{0}, 0}});
  unary("silu", heed::silu, [](double x) { return x / (1 + std::exp(-x)); }, any,
        {{{inf}, inf}, {{-inf}, nan_}, {{0}, 0}});
  unary("mish", heed::mish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, any,
        {{{inf}, inf}, {{-inf}, nan_}, {{0}, 0}});

  unary(
      "pow 3", [](Tensor const& x) { return pow(x, 3); }, [](double x) { return x * x * x; }, any, {{{-inf}, -inf}});
  unary(
      "pow 2.5", [](Tensor const& x) { return pow(x, 2.5); }, [](double x) { return std::pow(x, 2.5); }, positive,
      {{{-1}, nan_}, {{0}, 0}});
  unary(
      "pow 0", [](Tensor const& x) { return pow(x, 0); }, [](double) { return 1.; }, any, {{{nan_}, 1}, {{0}, 1}});
  unary(
      "pow -0.5", [](Tensor const& x) { return pow(x, -0.5); }, [](double x) { return 1 / std::sqrt(x); }, positive);
  unary(
      "operator+ number", [](Tensor const& x) { return x + 1.5; }, [](double x) { return x + 1.5; }, any);
  unary(
      "operator+ number first", [](Tensor const& x) { return 1.5 + x; }, [](double x) { return x + 1.5; }, any);
  unary(
      "operator- number", [](Tensor const& x) { return x - 1.5; }, [](double x) { return x - 1.5; }, any);
  unary(
      "operator- number first", [](Tensor const& x) { return 1.5 - x; }, [](double x) { return 1.5 - x; }, any);
  unary(
      "operator* number", [](Tensor const& x) { return x * 1.5; }, [](double x) { return x * 1.5; }, any);
  unary(
      "operator* number first", [](Tensor const& x) { return 1.5 * x; }, [](double x) { return 1.5 * x; }, any);
  unary(
      "operator/ number", [](Tensor const& x) { return x / 3; }, [](double x) { return x / 3; }, any);
  unary(
      "operator/ number first", [](Tensor const& x) { return 3 / x; }, [](double x) { return 3 / x; }, positive,
      {{{0}, inf}, {{inf}, 0}});

  binary("add", "add", heed::add, [](double a, double b) { return a + b; }, any, any,
         {{{inf, -inf}, nan_}, {{-0., -0.}, -0.}, {{tiny, tiny}, 2 * tiny}});
  binary(
      "operator+", "operator+", [](Tensor const& a, Tensor const& b) { return a + b; },
      [](double a, double b) { return a + b; }, any, any);
  binary("sub", "sub", heed::sub, [](double a, double b) { return a - b; }, any, any,
         {{{inf, inf}, nan_}, {{0, -0.}, 0}});
  binary(
      "operator-", "operator-", [](Tensor const& a, Tensor const& b) { return a - b; },
      [](double a, double b) { return a - b; }, any, any);
  binary("mul", "mul", heed::mul, [](double a, double b) { return a * b; }, any, any,
         {{{0, inf}, nan_}, {{-0., 2}, -0.}, {{tiny, 0.5}, tiny / 2}});
  binary(
      "operator*", "operator*", [](Tensor const& a, Tensor const& b) { return a * b; },
      [](double a, double b) { return a * b; }, any, any);
  binary("div", "div", heed::div, [](double a, double b) { return a / b; }, any, positive,
         {{{1, 0}, inf}, {{1, -0.}, -inf}, {{0, 0}, nan_}, {{1, inf}, 0}});
  binary(
      "operator/", "operator/", [](Tensor const& a, Tensor const& b) { return a / b; },
      [](double a, double b) { return a / b; }, any, positive);
  binary(
      "pow", "pow", [](Tensor const& a, Tensor const& b) { return pow(a, b); },
      [](double a, double b) { return std::pow(a, b); }, positive, any,
      {{{0, 0}, 1}, {{nan_, 0}, 1}, {{-1, 0.5}, nan_}, {{0, -1}, inf}, {{2, inf}, inf}});
  // Draws of both operands on one grid, half a step apart, so that no two tie.
  Input left = distinct(-2, 2), right = distinct(-1.9375, 2.0625);
  binary("maximum", "maximum", heed::maximum, [](double a, double b) { return std::max(a, b); }, left, right,
         {{{nan_, 1}, nan_}, {{1, nan_}, nan_}, {{-inf, inf}, inf}});
  binary("minimum", "minimum", heed::minimum, [](double a, double b) { return std::min(a, b); }, left, right,
         {{{nan_, 1}, nan_}, {{1, nan_}, nan_}, {{-inf, inf}, -inf}});

  OpCase select{.name = "where",
                .covers = "where",
                .inputs = {mask(), any, any},
                .shapes = {{{3, 5}, {3, 5}, {3, 5}},
                           {{3, 1}, {5}, {3, 5}},
                           {{}, {4}, {}},
                           {{7}, {7}, {1}},
                           {{0}, {0}, {1}},
                           {{2, 33}, {33}, {2, 1}}},
                .op = [](Tensors const& x) { return Tensors{where(x[0], x[1], x[2])}; },
                .scalar = [](double const* x) { return x[0] != 0 ? x[1] : x[2]; }};
  select.elementwise_bits = true;
  select.large = {{3, big}, {3, big}, {3, big}};
  select.bad = {{[] { where(ones({2}), ones({2}), ones({2})); }, {"where", "expected a bool condition, got f32"}},
                {[] { where(ones({2}) > 0.0, ones({3}), ones({2})); }, {"where", "[3]", "[2]"}},
                {[] { where(Tensor(), ones({3}), ones({2})); }, {"where", "undefined"}}};
  list().push_back(select);
  OpCase fill{.name = "masked_fill",
              .covers = "masked_fill",
              .inputs = {any, mask()},
              .shapes = {{{3, 5}, {3, 5}}, {{3, 5}, {5}}, {{}, {}}, {{2, 9}, {2, 1}}, {{0}, {0}}},
              .op =
                  [](Tensors const& x) {
                    return Tensors{masked_fill(x[0], x[1], -3), where(x[1], x[0], 4), where(x[1], 5, x[0])};
                  },
              .twin =
                  [](Tensors const& x) {
                    Tensor const m = x[1].to(Dtype::f64);
                    return Tensors{x[0] * (1 - m) - 3 * m, x[0] * m + 4 * (1 - m), 5 * m + x[0] * (1 - m)};
                  }};
  list().push_back(fill);
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    list().reserve(400);  // the makers above hand out references
    pointwise_cases();
    return OpSuite{.sections = {"pointwise, two operands", "pointwise, one operand"},
                   .cases = list(),
                   .not_differentiable = {"operator==", "operator!=", "operator<", "operator<=", "operator>",
                                          "operator>=", "operator&", "operator|", "operator!"}};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("kinks: the gradient where an op has none") {
  struct Kink {
    std::function<Tensor(Tensor const&)> op;
    double at, slope;
  };
  Kink const kinks[] = {{heed::abs, 0, 0},
                        {heed::relu, 0, 0},
                        {[](Tensor const& x) { return leaky_relu(x, 0.25); }, 0, 0.25},
                        {[](Tensor const& x) { return elu(x, 1); }, 0, 1},
                        {[](Tensor const& x) { return clamp(x, -1, 1); }, 1, 1},
                        {[](Tensor const& x) { return clamp(x, -1, 1); }, -1, 1},
                        {[](Tensor const& x) { return clamp(x, -1, 1); }, 2, 0},
                        {heed::sqrt, 0, inf},
                        {heed::sign, 0, 0},
                        {heed::round, 0.5, 0},
                        {heed::floor, 1, 0},
                        {[](Tensor const& x) { return maximum(x, ones_like(x)); }, 1, 0.5},
                        {[](Tensor const& x) { return minimum(x, ones_like(x)); }, 1, 0.5},
                        {[](Tensor const& x) { return pow(x, 0); }, 0, 0},
                        {[](Tensor const& x) { return pow(x, 2); }, 0, 0},
                        {[](Tensor const& x) {
                           return amax(stack({x, x, x * 0.5}), {0});
                         },
                         1, 1}};
  on_every_isa([&](Isa level) {
    for (Dtype dtype : {Dtype::f32, Dtype::f64})
      for (Kink const& kink : kinks) {
        INFO("kink ", size_t(&kink - kinks), " ", std::string(name(level)));
        Tensor const x = full({19}, kink.at, dtype).requires_grad_();
        for (double slope : grad({sum(kink.op(x))}, {x})[0].to_vector<double>()) CHECK(slope == kink.slope);
      }
  });
}

TEST_CASE("where: the branch not taken gives gradient 0, even where it is NaN") {
  Tensor const x = tensor(std::vector<double>{nan_, 2, inf}, {3}).requires_grad_();
  Tensor const taken = tensor(std::vector<uint8_t>{0, 1, 0}, {3}).to(Dtype::boolean);
  CHECK(grad({sum(where(taken, x, 0.0))}, {x})[0].to_vector<double>() == std::vector<double>{0, 1, 0});
  CHECK(grad({sum(where(!taken, 0.0, x))}, {x})[0].to_vector<double>() == std::vector<double>{0, 1, 0});
  CHECK(sum(where(taken, x, 0.0)).item() == 2);
}
