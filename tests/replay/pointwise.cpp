// Arithmetic, comparisons, bits, functions of one number, activations.
#include <functional>

#include "replay.h"

namespace heed::replay {
namespace {

struct Power {
  template <class A, class B>
  Tensor operator()(A const& a, B const& b) const {
    return pow(a, b);
  }
};

/// f of x and a tensor, or of x and a number.
template <class F>
Outputs with_number(Case const& c) {
  constexpr auto other = "other|exponent";
  Tensor const y = c.maybe(1, other);
  return y.defined() ? Tensor(F{}(c(0, "input|self"), y)) : Tensor(F{}(c(0, "input|self"), c.number(other)));
}
template <class F>
Outputs reversed(Case const& c) {
  Tensor const y = c.maybe(1, "other");
  return y.defined() ? Tensor(F{}(y, c(0))) : Tensor(F{}(c.number("other"), c(0)));
}
template <Tensor (*f)(Tensor const&, Tensor const&)>
Outputs reversed_tensors(Case const& c) {
  return f(c.operand(1, "other", c(0)), c(0));
}

/// x + alpha·other, or x − alpha·other.
template <class F>
Outputs sum_with_alpha(Case const& c) {
  if (!c.has("alpha")) return with_number<F>(c);
  Tensor const other = c.operand(1, "other", c(0));
  return Tensor(F{}(c(0), other * c.number("alpha")));
}
Outputs reversed_difference(Case const& c) {
  Tensor const x = c.has("alpha") ? c(0) * c.number("alpha") : c(0), other = c.maybe(1, "other");
  return other.defined() ? other - x : c.number("other") - x;
}

Outputs divided(Case const& c) {
  std::string const rounding = c.text("rounding_mode", "");
  if (rounding.empty()) return with_number<std::divides<>>(c);
  if (rounding != "floor" && rounding != "trunc") throw Malformed("no such rounding: " + rounding);
  return div(c(0), c.operand(1, "other", c(0)), rounding == "floor" ? Rounding::floor : Rounding::trunc);
}

/// Bounds are tensors, numbers or absent.
Outputs clamped(Case const& c) {
  bool const both_tensors = !c.has("min") && !c.has("max");
  Tensor low = c.has("min") ? Tensor() : c.maybe(both_tensors ? 1 : -1, "min");
  Tensor high = c.has("max") ? Tensor() : c.maybe(both_tensors ? 2 : -1, "max");
  if (!low.defined() && !high.defined()) {
    if (c.has("min") && c.has("max")) return clamp(c(0), c.number("min"), c.number("max"));
    if (!c.has("min") && !c.has("max")) throw Malformed("expected a bound for clamp");
    return c.has("min") ? clamp_min(c(0), c.number("min")) : clamp_max(c(0), c.number("max"));
  }
  if (c.has("min")) low = c.operand(-1, "min", c(0));
  if (c.has("max")) high = c.operand(-1, "max", c(0));
  return clamp(c(0), low, high);
}
Outputs clamped_below(Case const& c) {
  Tensor const bound = c.maybe(1, "min");
  return bound.defined() ? clamp_min(c(0), bound) : clamp_min(c(0), c.number("min"));
}
Outputs clamped_above(Case const& c) {
  Tensor const bound = c.maybe(1, "max");
  return bound.defined() ? clamp_max(c(0), bound) : clamp_max(c(0), c.number("max"));
}

Outputs chosen(Case const& c) {
  Tensor const condition = c(0, "condition"), a = c.maybe(1, "input|self"), b = c.maybe(2, "other");
  if (a.defined()) return b.defined() ? where(condition, a, b) : where(condition, a, c.number("other"));
  if (b.defined()) return where(condition, c.number("input|self"), b);
  return where(condition);  // the indices of what is true
}

Outputs filled_under(Case const& c) {
  Tensor const value = c.maybe(2, "value");
  return value.defined() ? masked_fill(c(0), c(1, "mask"), value) : masked_fill(c(0), c(1, "mask"), c.number("value"));
}

Outputs interpolated(Case const& c) {
  Tensor const weight = c.maybe(2, "weight");
  return weight.defined() ? lerp(c(0), c(1, "end"), weight) : lerp(c(0), c(1, "end"), c.real("weight"));
}

Outputs replaced(Case const& c) {
  std::optional<double> positive, negative;
  if (c.has("posinf")) positive = c.real("posinf");
  if (c.has("neginf")) negative = c.real("neginf");
  return nan_to_num(c(0), c.real("nan", 0), positive, negative);
}

/// PyTorch computes it in f64 whatever the types.
Outputs power_in_f64(Case const& c) { return pow(c(0).to(Dtype::f64), c.operand(1, "exponent", c(0)).to(Dtype::f64)); }

/// P_n(x), of one degree, or of one for each element.
template <Tensor (*f)(Tensor const&, Tensor const&)>
Outputs of_degree(Case const& c) {
  Tensor const x = c.operand(0, "x|input", c.maybe(1, "n|other"));
  return f(x, c.operand(1, "n|other", x));
}

// clang-format off
constexpr Row rows[] = {
    {"__radd__", reversed<std::plus<>>},
    {"__rand__", reversed_tensors<bitwise_and>},
    {"__rdiv__", reversed<std::divides<>>},
    {"__rmod__", reversed_tensors<remainder>},
    {"__rmul__", reversed<std::multiplies<>>},
    {"__ror__", reversed_tensors<bitwise_or>},
    {"__rpow__", reversed<Power>},
    {"__rsub__", reversed<std::minus<>>},
    {"__rxor__", reversed_tensors<bitwise_xor>},
    {"abs", unary<abs>},
    {"acos", unary<acos>},
    {"acosh", unary<acosh>},
    {"add", sum_with_alpha<std::plus<>>},
    {"addcdiv", [](Case const& c) -> Outputs { return addcdiv(c(0), c(1, "tensor1"), c(2, "tensor2"), c.real("value", 1)); }},
    {"addcmul", [](Case const& c) -> Outputs {
       return addcmul(c(0), c(1, "tensor1"), c(2, "tensor2"), c.has("value") ? c.number("value") : Number(1));
     }},
    {"allclose", [](Case const& c) -> Outputs {
       return scalar(allclose(c(0), c(1, "other"), c.real("rtol", 1e-5), c.real("atol", 1e-8), c.flag("equal_nan")), Dtype::boolean);
     }},
    {"asin", unary<asin>},
    {"asinh", unary<asinh>},
    {"atan", unary<atan>},
    {"atan2", binary<atan2>},
    {"atanh", unary<atanh>},
    {"bitwise_and", binary<bitwise_and>},
    {"bitwise_left_shift", binary<bitwise_left_shift>},
    {"bitwise_not", unary<bitwise_not>},
    {"bitwise_or", binary<bitwise_or>},
    {"bitwise_right_shift", binary<bitwise_right_shift>},
    {"bitwise_xor", binary<bitwise_xor>},
    {"ceil", unary<ceil>},
    {"clamp", clamped},
    {"clamp_max", clamped_above},
    {"clamp_min", clamped_below},
    {"copysign", binary<copysign>},
    {"cos", unary<cos>},
    {"cosh", unary<cosh>},
    {"deg2rad", unary<deg2rad>},
    {"digamma", unary<digamma>},
    {"div", divided},
    {"eq", with_number<std::equal_to<>>},
    {"equal", [](Case const& c) -> Outputs { return scalar(equal(c(0), c(1, "other")), Dtype::boolean); }},
    {"erf", unary<erf>},
    {"erfc", unary<erfc>},
    {"erfinv", unary<erfinv>},
    {"exp", unary<exp>},
    {"exp2", unary<exp2>},
    {"expm1", unary<expm1>},
    {"float_power", power_in_f64},
    {"floor", unary<floor>},
    {"floor_divide", binary<floor_divide>},
    {"fmax", binary<fmax>},
    {"fmin", binary<fmin>},
    {"fmod", binary<fmod>},
    {"frac", unary<frac>},
    {"gcd", binary<gcd>},
    {"frexp", [](Case const& c) -> Outputs { return frexp(c(0)); }},
    {"ge", with_number<std::greater_equal<>>},
    {"gt", with_number<std::greater<>>},
    {"heaviside", [](Case const& c) -> Outputs { return heaviside(c(0), c.operand(1, "values", c(0))); }},
    {"hypot", binary<hypot>},
    {"i0", unary<i0>},
    {"igamma", binary<igamma>},
    {"igammac", binary<igammac>},
    {"isclose", [](Case const& c) -> Outputs {
       return isclose(c(0), c(1, "other"), c.real("rtol", 1e-5), c.real("atol", 1e-8), c.flag("equal_nan"));
     }},
    {"isfinite", unary<isfinite>},
    {"isinf", unary<isinf>},
    {"isnan", unary<isnan>},
    {"isneginf", unary<isneginf>},
    {"isposinf", unary<isposinf>},
    {"lcm", binary<lcm>},
    {"ldexp", binary<ldexp>},
    {"le", with_number<std::less_equal<>>},
    {"lerp", interpolated},
    {"lgamma", unary<lgamma>},
    {"log", unary<log>},
    {"log10", unary<log10>},
    {"log1p", unary<log1p>},
    {"log2", unary<log2>},
    {"logaddexp", binary<logaddexp>},
    {"logaddexp2", binary<logaddexp2>},
    {"logical_and", binary<logical_and>},
    {"logical_not", unary<logical_not>},
    {"logical_or", binary<logical_or>},
    {"logical_xor", binary<logical_xor>},
    {"logit", [](Case const& c) -> Outputs { return c.has("eps") ? logit(c(0), c.real("eps")) : logit(c(0)); }},
    {"lt", with_number<std::less<>>},
    {"masked_fill", filled_under},
    {"maximum", binary<maximum>},
    {"minimum", binary<minimum>},
    {"mul", with_number<std::multiplies<>>},
    {"mvlgamma", [](Case const& c) -> Outputs { return mvlgamma(c(0), int(c.integer("p"))); }},
    {"nan_to_num", replaced},
    {"ne", with_number<std::not_equal_to<>>},
    {"neg", unary<neg>},
    {"nextafter", binary<nextafter>},
    {"polygamma", [](Case const& c) -> Outputs { return polygamma(int(c.integer("n")), c(0, "input")); }},
    {"positive", [](Case const& c) -> Outputs { return c(0); }},
    {"pow", with_number<Power>},
    {"rad2deg", unary<rad2deg>},
    {"reciprocal", unary<reciprocal>},
    {"remainder", binary<remainder>},
    {"round", [](Case const& c) -> Outputs { return c.has("decimals") ? round(c(0), int(c.integer("decimals"))) : round(c(0)); }},
    {"rsqrt", unary<rsqrt>},
    {"rsub", reversed_difference},
    {"sigmoid", unary<sigmoid>},
    {"sign", unary<sign>},
    {"signbit", unary<signbit>},
    {"sin", unary<sin>},
    {"sinc", unary<sinc>},
    {"sinh", unary<sinh>},
    {"special.bessel_j0", unary<bessel_j0>},
    {"special.bessel_j1", unary<bessel_j1>},
    {"special.bessel_y0", unary<bessel_y0>},
    {"special.bessel_y1", unary<bessel_y1>},
    {"special.chebyshev_polynomial_t", of_degree<chebyshev_polynomial_t>},
    {"special.chebyshev_polynomial_u", of_degree<chebyshev_polynomial_u>},
    {"special.chebyshev_polynomial_v", of_degree<chebyshev_polynomial_v>},
    {"special.chebyshev_polynomial_w", of_degree<chebyshev_polynomial_w>},
    {"special.entr", unary<entr>},
    {"special.erfcx", unary<erfcx>},
    {"special.hermite_polynomial_h", of_degree<hermite_polynomial_h>},
    {"special.hermite_polynomial_he", of_degree<hermite_polynomial_he>},
    {"special.i0e", unary<i0e>},
    {"special.i1", unary<i1>},
    {"special.i1e", unary<i1e>},
    {"special.laguerre_polynomial_l", of_degree<laguerre_polynomial_l>},
    {"special.legendre_polynomial_p", of_degree<legendre_polynomial_p>},
    {"special.log_ndtr", unary<log_ndtr>},
    {"special.modified_bessel_k0", unary<modified_bessel_k0>},
    {"special.modified_bessel_k1", unary<modified_bessel_k1>},
    {"special.ndtr", unary<ndtr>},
    {"special.ndtri", unary<ndtri>},
    {"special.scaled_modified_bessel_k0", unary<scaled_modified_bessel_k0>},
    {"special.scaled_modified_bessel_k1", unary<scaled_modified_bessel_k1>},
    {"special.shifted_chebyshev_polynomial_t", of_degree<shifted_chebyshev_polynomial_t>},
    {"special.shifted_chebyshev_polynomial_u", of_degree<shifted_chebyshev_polynomial_u>},
    {"special.shifted_chebyshev_polynomial_v", of_degree<shifted_chebyshev_polynomial_v>},
    {"special.shifted_chebyshev_polynomial_w", of_degree<shifted_chebyshev_polynomial_w>},
    {"special.spherical_bessel_j0", unary<spherical_bessel_j0>},
    {"special.xlog1py", binary<xlog1py>},
    {"special.zeta", binary<zeta>},
    {"sqrt", unary<sqrt>},
    {"square", unary<square>},
    {"sub", sum_with_alpha<std::minus<>>},
    {"tan", unary<tan>},
    {"tanh", unary<tanh>},
    {"trunc", unary<trunc>},
    {"where", chosen},
    {"xlogy", binary<xlogy>},
    // Activations.
    {"celu", [](Case const& c) -> Outputs { return celu(c(0), c.real("alpha", 1)); }},
    {"elu", [](Case const& c) -> Outputs { return elu(c(0), c.real("alpha", 1)); }},
    {"gelu", [](Case const& c) -> Outputs { return c.text("approximate", "none") == "tanh" ? gelu_tanh(c(0)) : gelu(c(0)); }},
    {"glu", [](Case const& c) -> Outputs { return glu(c(0), c.axis("dim", -1)); }},
    {"hardshrink", [](Case const& c) -> Outputs { return hard_shrink(c(0), c.real("lambd", 0.5)); }},
    {"hardsigmoid", unary<hard_sigmoid>},
    {"hardswish", unary<hard_swish>},
    {"hardtanh", [](Case const& c) -> Outputs { return hard_tanh(c(0), c.real("min_val", -1), c.real("max_val", 1)); }},
    {"leaky_relu", [](Case const& c) -> Outputs { return leaky_relu(c(0), c.real("negative_slope", 0.01)); }},
    {"logsigmoid", unary<log_sigmoid>},
    {"mish", unary<mish>},
    {"prelu", [](Case const& c) -> Outputs { return prelu(c(0), c(1, "weight")); }},
    {"relu", unary<relu>},
    {"relu6", unary<relu6>},
    {"rrelu", [](Case const& c) -> Outputs {
       return rrelu(c(0), c.real("lower", 1. / 8), c.real("upper", 1. / 3), c.flag("training"));
     }},
    {"selu", unary<selu>},
    {"silu", unary<silu>},
    {"softplus", [](Case const& c) -> Outputs { return softplus(c(0), c.real("beta", 1), c.real("threshold", 20)); }},
    {"softshrink", [](Case const& c) -> Outputs { return soft_shrink(c(0), c.real("lambd", 0.5)); }},
    {"softsign", unary<softsign>},
    {"tanhshrink", unary<tanhshrink>},
    {"threshold", [](Case const& c) -> Outputs { return threshold(c(0), c.real("threshold"), c.real("value")); }},
};
// clang-format on

}  // namespace

std::span<Row const> pointwise_rows() { return rows; }

}  // namespace heed::replay
