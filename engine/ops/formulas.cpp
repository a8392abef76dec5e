// Pointwise operations without kernels of their own: each is a formula, recorded once and run as a program (program.h).
// The formulas' comparisons decide which slope a kink has: PyTorch's.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/formulas.h>
#include <heed/engine/ops/program.h>

#include <limits>
#include <numbers>

namespace heed {
namespace {

using Operands = std::vector<Symbol>;
constexpr double infinity = std::numeric_limits<double>::infinity();

/// A formula with parameters: recorded at every call.
template <class F>
Tensor formula(char const* op, std::vector<Tensor> const& operands, F const& f) {
  return run_program(op, record_program(int(operands.size()), f), operands)[0];
}

// A formula without parameters, of one or two operands: recorded once.
#define HEED_FORMULA_1(name, value)                                                  \
  Tensor name(Tensor const& operand) {                                               \
    static auto const program = record_program(1, [](Operands const& in) -> Symbol { \
      Symbol const x = in[0];                                                        \
      return value;                                                                  \
    });                                                                              \
    return run_program(#name, program, {operand})[0];                                \
  }
#define HEED_FORMULA_2(name, value)                                                  \
  Tensor name(Tensor const& left, Tensor const& right) {                             \
    static auto const program = record_program(2, [](Operands const& in) -> Symbol { \
      Symbol const a = in[0], b = in[1];                                             \
      return value;                                                                  \
    });                                                                              \
    return run_program(#name, program, {left, right})[0];                            \
  }

constexpr double half_root = 0.70710678118654752440;  // √½

/// C's remainder with the sign of b.
Symbol remainder_of(Symbol a, Symbol b) {
  Symbol const m = fmod(a, b);
  return select(((m < 0.) & (b > 0.)) | ((m > 0.) & (b < 0.)), m + b, m);
}

/// x·log(y), and 0 where x is 0, even of what has no logarithm; NaN of y stays.
Symbol x_times_log(Symbol x, Symbol y, Symbol log_y, double zero_of_log) {
  SymbolMask const nothing = (x == 0.) & ((y <= zero_of_log) | (y == infinity));
  return select(nothing, 0., x * log_y);
}

}  // namespace

HEED_FORMULA_1(tan, tan(x))
HEED_FORMULA_1(asin, asin(x))
HEED_FORMULA_1(acos, acos(x))
HEED_FORMULA_1(atan, atan(x))
HEED_FORMULA_1(sinh, sinh(x))
HEED_FORMULA_1(cosh, cosh(x))
HEED_FORMULA_1(asinh, asinh(x))
HEED_FORMULA_1(acosh, acosh(x))
HEED_FORMULA_1(atanh, atanh(x))
HEED_FORMULA_1(exp2, exp2(x))
HEED_FORMULA_1(log2, log2(x))
HEED_FORMULA_1(log10, log10(x))
HEED_FORMULA_1(erfc, erfc(x))
HEED_FORMULA_1(erfcx, erfcx(x))
HEED_FORMULA_1(erfinv, erfinv(x))
HEED_FORMULA_1(lgamma, lgamma(x))
HEED_FORMULA_1(digamma, digamma(x))
HEED_FORMULA_1(i0e, i0e(x))
HEED_FORMULA_1(i1e, i1e(x))
HEED_FORMULA_1(i0, exp(abs(x)) * i0e(x))
HEED_FORMULA_1(i1, exp(abs(x)) * i1e(x))
HEED_FORMULA_1(deg2rad, x*(std::numbers::pi / 180))
HEED_FORMULA_1(rad2deg, x*(180 / std::numbers::pi))
HEED_FORMULA_1(frac, x - trunc(x))
/// The divisor of the branch not taken at 0 must not be 0.
HEED_FORMULA_1(sinc, select(x == 0., 1., sin(std::numbers::pi* x) / (std::numbers::pi * select(x == 0., 1., x))))
HEED_FORMULA_1(entr, select(x > 0., -x* log(select(x > 0., x, 1.)), select(x == 0., 0., select(x < 0., -infinity, x))))
HEED_FORMULA_1(ndtr, 0.5 * erfc(-half_root * x))
/// log ½erfc(−x/√2), by the scaled erfcx where that underflows.
HEED_FORMULA_1(log_ndtr, select(x < -1., log(0.5 * erfcx(-half_root * min(-1., x))) - 0.5 * x * x,
                                log1p(-0.5 * erfc(half_root * max(-1., x)))))
/// √2·erfinv(2x − 1); in the tails, where 2x − 1 loses x, Newton's steps on log ndtr from its asymptote.
HEED_FORMULA_1(ndtri, [&] {
  Symbol const p = min(x, 1. - x);
  SymbolMask const in_tail = (p > 0.) & (p < 0.1);
  Symbol const log_p = log(select(in_tail, p, 0.1));
  Symbol y = -sqrt(-2. * log_p - log(-2. * log_p) - 1.83787706640934548);  // log 2π
  for (int step = 0; step < 4; ++step) {
    Symbol const ratio = erfcx(-half_root * y);  // 2·e^(y²/2)·ndtr(y)
    y = y - (log(0.5 * ratio) - 0.5 * y * y - log_p) * ratio * 1.25331413731550025;
  }
  Symbol const middle = select(p < 0., std::numeric_limits<double>::quiet_NaN(), erfinv(2. * x - 1.));
  return select(in_tail, select(x < 0.5, y, -y), 1.41421356237309505 * middle);
}())

HEED_FORMULA_1(softsign, x / (1. + abs(x)))
HEED_FORMULA_1(tanhshrink, x - tanh(x))
HEED_FORMULA_1(hard_sigmoid, select((x > -3.) & (x < 3.), x / 6. + 0.5, select(x <= -3., 0., select(x >= 3., 1., x))))
HEED_FORMULA_1(hard_swish, select(x < -3., 0., select(x <= 3., x*(x + 3.) / 6., x)))
/// Klambauer et al., 2017.
HEED_FORMULA_1(selu, 1.0507009873554804934 * select(x > 0., x, 1.6732632423543772848 * expm1(min(0., x))))

Tensor celu(Tensor const& x, double alpha) {
  return formula("celu", {x}, [=](Operands const& in) -> Symbol {
    return select(in[0] > 0., in[0], alpha * expm1(min(0., in[0] / alpha)));
  });
}
Tensor softplus(Tensor const& x, double beta, double threshold) {
  if (beta == 1 && threshold == infinity) return softplus(x);
  return formula("softplus", {x}, [=](Operands const& in) -> Symbol {
    return select(beta * in[0] > threshold, in[0], softplus(beta * in[0]) / beta);
  });
}
Tensor relu6(Tensor const& x) { return hard_tanh(x, 0, 6); }
Tensor hard_tanh(Tensor const& x, double low, double high) {
  check_defined("hard_tanh", x);
  if (!is_floating(x.dtype())) return minimum(maximum(x, scalar(low, x.dtype())), scalar(high, x.dtype()));
  return formula("hard_tanh", {x}, [=](Operands const& in) -> Symbol {
    return select((in[0] > low) & (in[0] < high), in[0], select(in[0] <= low, low, select(in[0] >= high, high, in[0])));
  });
}
Tensor hard_shrink(Tensor const& x, double threshold) {
  return formula("hard_shrink", {x}, [=](Operands const& in) -> Symbol {
    return select((in[0] >= -threshold) & (in[0] <= threshold), 0., in[0]);
  });
}
Tensor soft_shrink(Tensor const& x, double threshold) {
  return formula("soft_shrink", {x}, [=](Operands const& in) -> Symbol {
    return select(in[0] > threshold, in[0] - threshold, select(in[0] < -threshold, in[0] + threshold, 0. * in[0]));
  });
}
Tensor prelu(Tensor const& x, Tensor const& weight) {
  check_defined("prelu", x);
  check_defined("prelu", weight);
  check(weight.numel() == 1 || (weight.rank() == 1 && x.rank() > 1 && weight.size(0) == x.size(1)), "prelu", [&] {
    return Complaint{fmt::format("expected one weight, or one for each channel (axis 1) of {}, got shape {}",
                                 to_string(x.shape()), to_string(weight.shape())),
                     "pass a weight of shape [1] or [channels]"};
  });
  Shape shape = Dims::filled(x.rank(), 1);
  if (weight.numel() != 1) shape[1] = weight.size(0);
  static auto const program =
      record_program(2, [](Operands const& in) -> Symbol { return select(in[0] > 0., in[0], in[1] * in[0]); });
  return run_program("prelu", program, {x, weight.reshape(shape)})[0];
}
HEED_FORMULA_1(logit, log(x / (1. - x)))
Tensor logit(Tensor const& x, double eps) {
  return formula("logit", {x}, [=](Operands const& in) -> Symbol {
    Symbol const p = select(in[0] < eps, eps, select(in[0] > 1 - eps, 1 - eps, in[0]));
    return log(p / (1. - p));
  });
}
Tensor polygamma(int n, Tensor const& x) {
  check(n >= 0, "polygamma", [&] {
    return Complaint{fmt::format("expected an order of 0 or more, got {}", n), "pass the number of derivatives"};
  });
  return formula("polygamma", {x},
                 [=](Operands const& in) -> Symbol { return n == 0 ? digamma(in[0]) : polygamma(double(n), in[0]); });
}
Tensor mvlgamma(Tensor const& x, int p) {
  check(p >= 1, "mvlgamma", [&] {
    return Complaint{fmt::format("expected a dimension of 1 or more, got {}", p), "pass the size of the matrices"};
  });
  return formula("mvlgamma", {x}, [=](Operands const& in) -> Symbol {
    Symbol sum = 0.25 * p * (p - 1) * 1.14472988584940017;  // log π
    for (int i = 0; i < p; ++i) sum = sum + lgamma(in[0] - 0.5 * i);
    return sum;
  });
}
Tensor nan_to_num(Tensor const& x, double nan, std::optional<double> positive, std::optional<double> negative) {
  check_defined("nan_to_num", x);
  if (!is_floating(x.dtype())) return x;
  double const largest = x.dtype() == Dtype::f64    ? std::numeric_limits<double>::max()
                         : x.dtype() == Dtype::f16  ? 65504
                         : x.dtype() == Dtype::bf16 ? 0x1.FEp127
                                                    : double(std::numeric_limits<float>::max());
  double const high = positive.value_or(largest), low = negative.value_or(-largest);
  return formula("nan_to_num", {x}, [=](Operands const& in) -> Symbol {
    return select(in[0] == infinity, high, select(in[0] == -infinity, low, select(isnan(in[0]), nan, in[0])));
  });
}

HEED_FORMULA_2(atan2, atan2(a, b))
HEED_FORMULA_2(hypot, hypot(a, b))
HEED_FORMULA_2(copysign, copysign(a, b))
HEED_FORMULA_2(nextafter, nextafter(a, b))
HEED_FORMULA_2(xlogy, x_times_log(a, b, log(b), 0.))
HEED_FORMULA_2(xlog1py, x_times_log(a, b, log1p(b), -1.))
HEED_FORMULA_2(zeta, zeta(a, b))
/// The larger one + log(1 + e^−|a − b|); two equal infinities have no difference.
HEED_FORMULA_2(logaddexp,
               select((a == b) & (abs(a) == infinity), a, select(a > b, a + softplus(b - a), b + softplus(a - b))))
HEED_FORMULA_2(logaddexp2, select((a == b) & (abs(a) == infinity), a,
                                  select(a > b, a + softplus((b - a) * std::numbers::ln2) / std::numbers::ln2,
                                         b + softplus((a - b) * std::numbers::ln2) / std::numbers::ln2)))
HEED_FORMULA_2(ldexp, a* exp2(b))

namespace formulas {  // their integer forms are in integer.cpp
/// Ties go to a, NaN to the other operand.
HEED_FORMULA_2(fmax, select((a >= b) | isnan(b), a, b))
HEED_FORMULA_2(fmin, select((a <= b) | isnan(b), a, b))
HEED_FORMULA_2(heaviside, select(a == 0., b, select(a > 0., 1., select(a < 0., 0., a))))
HEED_FORMULA_2(fmod, fmod(a, b))
HEED_FORMULA_2(remainder, remainder_of(a, b))
HEED_FORMULA_2(trunc_divide, trunc(a / b))
/// Python's //: by the remainder, so that no quotient is rounded up to a whole number.
HEED_FORMULA_2(floor_divide, select(b == 0., a / b, [&] {
                 Symbol const m = fmod(a, b), whole = (a - m) / b;
                 Symbol const q = select(((m < 0.) & (b > 0.)) | ((m > 0.) & (b < 0.)), whole - 1., whole);
                 Symbol const down = floor(q);
                 return select(q == 0., copysign(0., a / b), select(q - down > 0.5, down + 1., down));
               }()))
}  // namespace formulas

Tensor lerp(Tensor const& from, Tensor const& to, Tensor const& weight) {
  static auto const program = record_program(3, [](Operands const& in) -> Symbol {
    Symbol const a = in[0], b = in[1], w = in[2];
    return select(abs(w) < 0.5, a + w * (b - a), b - (b - a) * (1. - w));
  });
  return run_program("lerp", program, {from, to, weight})[0];
}
Tensor lerp(Tensor const& from, Tensor const& to, double weight) {
  check_defined("lerp", from);
  return lerp(from, to, scalar(weight, from.dtype()));
}
Tensor addcdiv(Tensor const& x, Tensor const& a, Tensor const& b, double value) {
  return formula("addcdiv", {x, a, b}, [=](Operands const& in) -> Symbol { return in[0] + value * (in[1] / in[2]); });
}
Tensor clamp(Tensor const& x, Tensor const& low, Tensor const& high) {
  check(low.defined() || high.defined(), "clamp", [] {
    return Complaint{"expected a lower or an upper bound, got neither", "pass one of them"};
  });
  if (!low.defined()) return clamp_max(x, high);
  if (!high.defined()) return clamp_min(x, low);
  if (!is_floating(result_type({x, low, high}))) return clamp_max(clamp_min(x, low), high);
  static auto const program = record_program(3, [](Operands const& in) -> Symbol {
    Symbol const a = in[0], l = in[1], h = in[2];
    Symbol const raised = select(isnan(l) | (a < l), l, a);
    return select(isnan(h) | (raised > h), h, raised);
  });
  return run_program("clamp", program, {x, low, high})[0];
}
Tensor clamp_min(Tensor const& x, Tensor const& low) {
  check_defined("clamp_min", x);
  check_defined("clamp_min", low);
  if (!is_floating(result_type(x, low))) return maximum(x, low);
  static auto const program = record_program(
      2, [](Operands const& in) -> Symbol { return select(isnan(in[1]) | (in[0] < in[1]), in[1], in[0]); });
  return run_program("clamp_min", program, {x, low})[0];
}
Tensor clamp_max(Tensor const& x, Tensor const& high) {
  check_defined("clamp_max", x);
  check_defined("clamp_max", high);
  if (!is_floating(result_type(x, high))) return minimum(x, high);
  static auto const program = record_program(
      2, [](Operands const& in) -> Symbol { return select(isnan(in[1]) | (in[0] > in[1]), in[1], in[0]); });
  return run_program("clamp_max", program, {x, high})[0];
}

}  // namespace heed
