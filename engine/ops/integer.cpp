// Whole numbers and truth values: bits, logic, division with its roundings, powers, and the questions that floats
// answer.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/elementwise.h>
#include <heed/engine/ops/formulas.h>
#include <heed/engine/tape.h>

#include <limits>

namespace heed {

Tensor integers(WholeFormula const& formula, char const* op, Tensor const& left, Tensor const& right, Dtype dtype) {
  Dtype const to = formula.compares ? Dtype::boolean : dtype;
  Shape const shape = broadcast(op, left.shape(), right.shape());
  Device const device = where_to_run(op, left, right);
  Tensor const a = operand(left, dtype, device), b = operand(right, dtype, device);
  Tensor y(shape, to, device);
  Observed const watch(op, {&a, &b}, {&y});
  if (!device.is_cpu()) {
    if (y.numel() > 0)
      device_kernels<WholeKernels>(device, op)
          .binary(formula.index, walk_of<3>(shape, std::array<Tensor const*, 2>{&a, &b}), dtype, a.address(),
                  b.address(), to, y.address());
    return y;
  }
  Rows<2> const rows(shape, std::array{&a, &b});
  int64_t const a_step = rows.stride(0), b_step = rows.stride(1);
  auto const size = int64_t(size_of(dtype)), result = int64_t(size_of(to));
  auto const *const as = static_cast<std::byte const*>(a.raw()), *const bs = static_cast<std::byte const*>(b.raw());
  auto* const ys = static_cast<std::byte*>(y.raw());
  auto const loop = formula.loop(op, dtype);
  rows.for_each([&](int64_t const* offset, int64_t out, int64_t n) {
    loop(as + offset[0] * size, a_step, bs + offset[1] * size, b_step, ys + out * result, n);
  });
  return y;
}
namespace {

Dtype common(char const* op, Tensor const& a, Tensor const& b) {
  check_defined(op, a);
  check_defined(op, b);
  return result_type(a, b);
}

void check_integers(char const* op, Dtype dtype, bool bools = true) {
  check(!is_floating(dtype) && (bools || dtype != Dtype::boolean), op, [&] {
    return Complaint{fmt::format("expected integers{}, got {}", bools ? " or bools" : "", name(dtype)),
                     "convert with .to()"};
  });
}

template <class F>
Tensor bits(char const* op, Tensor const& a, Tensor const& b, bool bools) {
  Dtype const dtype = common(op, a, b);
  check_integers(op, dtype, bools);
  return integers<F>(op, a, b, dtype);
}

/// Truth values of any type: x != 0.
template <class F>
Tensor logic(char const* op, Tensor const& a, Tensor const& b) {
  check_defined(op, a);
  check_defined(op, b);
  return integers<F>(op, a.detach().to(Dtype::boolean), b.detach().to(Dtype::boolean), Dtype::boolean);
}

/// An Error where a divisor is 0: integers have no infinity.
void check_divisors(char const* op, Tensor const& b) {
  if (b.numel() == 0 || !b.device().is_cpu()) return;
  Tensor const zero = b == 0;
  bool found = false;
  for (bool z : zero.to_vector<bool>()) found |= z;
  check(!found, op, [] {
    return Complaint{"an integer divided by zero", "convert to a floating type, or replace the zeros"};
  });
}

template <class F>
Tensor divided(char const* op, Tensor const& a, Tensor const& b, Dtype dtype) {
  if (dtype == Dtype::boolean) detail::unsupported_dtype(op, dtype, "numbers");
  check_divisors(op, b);
  return integers<F>(op, a, b, dtype);
}

}  // namespace

// ---- bits -----------------------------------------------------------------------------------------------------------

Tensor bitwise_and(Tensor const& a, Tensor const& b) { return bits<whole::And>("bitwise_and", a, b, true); }
Tensor bitwise_or(Tensor const& a, Tensor const& b) { return bits<whole::Or>("bitwise_or", a, b, true); }
Tensor bitwise_xor(Tensor const& a, Tensor const& b) { return bits<whole::Xor>("bitwise_xor", a, b, true); }
Tensor bitwise_not(Tensor const& x) {
  check_defined("bitwise_not", x);
  check_integers("bitwise_not", x.dtype());
  return x.dtype() == Dtype::boolean ? x == 0 : bitwise_xor(x, scalar(-1, x.dtype()));
}
Tensor bitwise_left_shift(Tensor const& a, Tensor const& b) {
  return bits<whole::LeftShift>("bitwise_left_shift", a, b, false);
}
Tensor bitwise_right_shift(Tensor const& a, Tensor const& b) {
  return bits<whole::RightShift>("bitwise_right_shift", a, b, false);
}
Tensor gcd(Tensor const& a, Tensor const& b) { return bits<whole::Gcd>("gcd", a, b, false); }
Tensor lcm(Tensor const& a, Tensor const& b) { return bits<whole::Lcm>("lcm", a, b, false); }

Tensor logical_and(Tensor const& a, Tensor const& b) { return logic<whole::And>("logical_and", a, b); }
Tensor logical_or(Tensor const& a, Tensor const& b) { return logic<whole::Or>("logical_or", a, b); }
Tensor logical_xor(Tensor const& a, Tensor const& b) { return logic<whole::Xor>("logical_xor", a, b); }
Tensor logical_not(Tensor const& x) { return x == 0; }

Tensor fmax(Tensor const& a, Tensor const& b) {
  return is_floating(common("fmax", a, b)) ? formulas::fmax(a, b) : maximum(a, b);
}
Tensor fmin(Tensor const& a, Tensor const& b) {
  return is_floating(common("fmin", a, b)) ? formulas::fmin(a, b) : minimum(a, b);
}
Tensor heaviside(Tensor const& a, Tensor const& b) {
  Dtype const dtype = common("heaviside", a, b);
  return is_floating(dtype) ? formulas::heaviside(a, b) : where(a == 0, b.to(dtype), (a > 0).to(dtype));
}

// ---- division with a rounding ---------------------------------------------------------------------------------------

Tensor fmod(Tensor const& a, Tensor const& b) {
  Dtype const dtype = common("fmod", a, b);
  if (is_floating(dtype)) return formulas::fmod(a, b);
  return divided<whole::Fmod>("fmod", a, b, dtype);
}
Tensor remainder(Tensor const& a, Tensor const& b) {
  Dtype const dtype = common("remainder", a, b);
  if (is_floating(dtype)) return formulas::remainder(a, b);
  return divided<whole::Remainder>("remainder", a, b, dtype);
}
Tensor floor_divide(Tensor const& a, Tensor const& b) {
  Dtype const dtype = common("floor_divide", a, b);
  if (is_floating(dtype)) return formulas::floor_divide(a, b);
  return divided<whole::FloorDivide>("floor_divide", a, b, dtype);
}
Tensor div(Tensor const& a, Tensor const& b, Rounding rounding) {
  if (rounding == Rounding::floor) return floor_divide(a, b);
  Dtype const dtype = common("div", a, b);
  if (is_floating(dtype)) return formulas::trunc_divide(a, b);
  return divided<whole::TruncDivide>("div", a, b, dtype);
}

Tensor integer_power(Tensor const& a, Tensor const& b, Dtype dtype) {
  return integers<whole::Power>("pow", a, b, dtype);
}

// ---- what a float is ------------------------------------------------------------------------------------------------

namespace {
/// `f` of a float; the same answer for every integer.
template <class F>
Tensor question(char const* op, Tensor const& x, bool of_integers, F f) {
  check_defined(op, x);
  NoGrad const off;
  return is_floating(x.dtype()) ? f(x.detach()) : full(x.shape(), of_integers, Dtype::boolean, x.device());
}
constexpr double infinity = std::numeric_limits<double>::infinity();
}  // namespace

Tensor isnan(Tensor const& x) {
  return question("isnan", x, false, [](Tensor const& f) { return f != f; });
}
Tensor isinf(Tensor const& x) {
  return question("isinf", x, false, [](Tensor const& f) { return abs(f) == infinity; });
}
Tensor isposinf(Tensor const& x) {
  return question("isposinf", x, false, [](Tensor const& f) { return f == infinity; });
}
Tensor isneginf(Tensor const& x) {
  return question("isneginf", x, false, [](Tensor const& f) { return f == -infinity; });
}
Tensor isfinite(Tensor const& x) {
  return question("isfinite", x, true, [](Tensor const& f) { return abs(f) < infinity; });
}
Tensor signbit(Tensor const& x) {
  check_defined("signbit", x);
  NoGrad const off;
  return is_floating(x.dtype()) ? copysign(ones_like(x), x.detach()) < 0 : x < 0;
}

Tensor isclose(Tensor const& a, Tensor const& b, double rtol, double atol, bool equal_nan) {
  check_defined("isclose", a);
  check_defined("isclose", b);
  check(a.dtype() == b.dtype(), "isclose", [&] {
    return Complaint{fmt::format("expected tensors of one type, got {} and {}", name(a.dtype()), name(b.dtype())),
                     "convert one with .to()"};
  });
  NoGrad const off;
  Tensor const x = a.detach(), y = b.detach();
  Tensor close = x == y;
  if (equal_nan && is_floating(x.dtype())) close = close | (isnan(x) & isnan(y));
  if (rtol == 0 && atol == 0) return close;
  Dtype const wide = x.dtype() == Dtype::f64 || !is_floating(x.dtype()) ? Dtype::f64 : Dtype::f32;
  Tensor const difference = abs(x.to(wide) - y.to(wide));
  return close | (isfinite(difference) & (difference <= abs(y.to(wide)) * rtol + atol));
}
bool allclose(Tensor const& a, Tensor const& b, double rtol, double atol, bool equal_nan) {
  return all(isclose(a, b, rtol, atol, equal_nan)).item<bool>();
}
bool equal(Tensor const& a, Tensor const& b) { return a.shape() == b.shape() && all(a == b).item<bool>(); }

}  // namespace heed
