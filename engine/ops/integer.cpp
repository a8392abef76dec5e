// Whole numbers and truth values: bits, logic, division with its roundings, powers, and the questions that floats
// answer.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/elementwise.h>
#include <heed/engine/ops/formulas.h>
#include <heed/engine/tape.h>

#include <cmath>
#include <limits>
#include <numeric>

namespace heed {
namespace {

/// y = f(x) of any type, without a gradient.
template <class Y, class F>
Tensor each(char const* op, Tensor const& x, Dtype dtype, F f) {
  Tensor const from = x.detach().contiguous();
  Tensor y(x.shape(), dtype);
  Observed const watch(op, {&from}, {&y});
  auto* const to = static_cast<Y*>(y.raw());
  dispatch(x.dtype(), [&]<class T>(Type<T>) {
    auto const* const xs = static_cast<T const*>(from.raw());
    parallel_for(x.numel(), pointwise_grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = Y(f(xs[i]));
    });
  });
  return y;
}

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
Tensor bits(char const* op, Tensor const& a, Tensor const& b, bool bools, F f) {
  Dtype const dtype = common(op, a, b);
  check_integers(op, dtype, bools);
  return integers(op, a, b, dtype, f);
}

/// Truth values of any type: x != 0.
template <class F>
Tensor logic(char const* op, Tensor const& a, Tensor const& b, F f) {
  check_defined(op, a);
  check_defined(op, b);
  return integers(op, a.detach().to(Dtype::boolean), b.detach().to(Dtype::boolean), Dtype::boolean, f);
}

/// An Error where a divisor is 0: integers have no infinity.
void check_divisors(char const* op, Tensor const& b) {
  if (b.numel() == 0) return;
  Tensor const zero = b == 0;
  bool found = false;
  for (bool z : zero.to_vector<bool>()) found |= z;
  check(!found, op, [] {
    return Complaint{"an integer divided by zero", "convert to a floating type, or replace the zeros"};
  });
}

/// Division of integers that rounds towards −∞ (or 0), of what remains; −1 as divisor must not overflow.
template <class F>
Tensor divided(char const* op, Tensor const& a, Tensor const& b, Dtype dtype, F f) {
  if (dtype == Dtype::boolean) detail::unsupported_dtype(op, dtype, "numbers");
  check_divisors(op, b);
  return integers(op, a, b, dtype, f);
}

}  // namespace

// ---- bits -----------------------------------------------------------------------------------------------------------

Tensor bitwise_and(Tensor const& a, Tensor const& b) {
  return bits("bitwise_and", a, b, true, [](auto x, auto y) { return x & y; });
}
Tensor bitwise_or(Tensor const& a, Tensor const& b) {
  return bits("bitwise_or", a, b, true, [](auto x, auto y) { return x | y; });
}
Tensor bitwise_xor(Tensor const& a, Tensor const& b) {
  return bits("bitwise_xor", a, b, true, [](auto x, auto y) { return x ^ y; });
}
Tensor bitwise_not(Tensor const& x) {
  check_defined("bitwise_not", x);
  check_integers("bitwise_not", x.dtype());
  return x.dtype() == Dtype::boolean ? x == 0 : bitwise_xor(x, scalar(-1, x.dtype()));
}
/// A shift by the width or more, or by a negative count, leaves nothing (the sign, to the right).
Tensor bitwise_left_shift(Tensor const& a, Tensor const& b) {
  return bits("bitwise_left_shift", a, b, false, []<class T>(T x, T y) {
    return y < T(0) || int64_t(y) >= int64_t(8 * sizeof(T)) ? T(0) : T(uint64_t(x) << y);
  });
}
Tensor bitwise_right_shift(Tensor const& a, Tensor const& b) {
  return bits("bitwise_right_shift", a, b, false, []<class T>(T x, T y) {
    int64_t const last = int64_t(8 * sizeof(T)) - 1;
    bool const within = y >= T(0) && int64_t(y) <= last;
    return within ? T(x >> y) : T(x < T(0) ? -1 : 0);
  });
}
Tensor gcd(Tensor const& a, Tensor const& b) {
  return bits("gcd", a, b, false, []<class T>(T x, T y) {
    if constexpr (std::is_same_v<T, bool>)
      return x;
    else
      return T(std::gcd(int64_t(x), int64_t(y)));
  });
}
Tensor lcm(Tensor const& a, Tensor const& b) {
  return bits("lcm", a, b, false, []<class T>(T x, T y) {
    if constexpr (std::is_same_v<T, bool>) {
      return x;
    } else {
      int64_t const divisor = std::gcd(int64_t(x), int64_t(y));
      int64_t const product = divisor == 0 ? 0 : int64_t(uint64_t(int64_t(x) / divisor) * uint64_t(int64_t(y)));
      return T(product < 0 ? -uint64_t(product) : uint64_t(product));
    }
  });
}

Tensor logical_and(Tensor const& a, Tensor const& b) {
  return logic("logical_and", a, b, [](bool x, bool y) { return x && y; });
}
Tensor logical_or(Tensor const& a, Tensor const& b) {
  return logic("logical_or", a, b, [](bool x, bool y) { return x || y; });
}
Tensor logical_xor(Tensor const& a, Tensor const& b) {
  return logic("logical_xor", a, b, [](bool x, bool y) { return x != y; });
}
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
  return divided("fmod", a, b, dtype, []<class T>(T x, T y) { return y == T(-1) ? T(0) : T(x % y); });
}
Tensor remainder(Tensor const& a, Tensor const& b) {
  Dtype const dtype = common("remainder", a, b);
  if (is_floating(dtype)) return formulas::remainder(a, b);
  return divided("remainder", a, b, dtype, []<class T>(T x, T y) {
    if (y == T(-1)) return T(0);
    T const m = T(x % y);
    return m != T(0) && ((m < T(0)) != (y < T(0))) ? T(m + y) : m;
  });
}
Tensor floor_divide(Tensor const& a, Tensor const& b) {
  Dtype const dtype = common("floor_divide", a, b);
  if (is_floating(dtype)) return formulas::floor_divide(a, b);
  return divided("floor_divide", a, b, dtype, []<class T>(T x, T y) {
    if (y == T(-1)) return T(-uint64_t(x));
    T const q = T(x / y);
    return T(x % y) != T(0) && ((x < T(0)) != (y < T(0))) ? T(q - 1) : q;
  });
}
Tensor div(Tensor const& a, Tensor const& b, Rounding rounding) {
  if (rounding == Rounding::floor) return floor_divide(a, b);
  Dtype const dtype = common("div", a, b);
  if (is_floating(dtype)) return formulas::trunc_divide(a, b);
  return divided("div", a, b, dtype, []<class T>(T x, T y) { return y == T(-1) ? T(-uint64_t(x)) : T(x / y); });
}

Tensor integer_power(Tensor const& a, Tensor const& b, Dtype dtype) {
  return integers("pow", a, b, dtype, []<class T>(T base, T exponent) {
    if (exponent < T(0)) return T(base == T(1) ? 1 : base == T(-1) ? (exponent % T(2) == T(0) ? 1 : -1) : 0);
    uint64_t result = 1, factor = uint64_t(base);
    for (uint64_t e = uint64_t(exponent); e; e >>= 1, factor *= factor)
      if (e & 1) result *= factor;
    return T(result);
  });
}

// ---- what a float is ------------------------------------------------------------------------------------------------

#define HEED_QUESTION(name, of_float)                                           \
  Tensor name(Tensor const& x) {                                                \
    check_defined(#name, x);                                                    \
    return each<bool>(#name, x, Dtype::boolean, []<class T>(T v) {              \
      if constexpr (std::is_integral_v<T>)                                      \
        return name##_of_whole(v);                                              \
      else {                                                                    \
        using F = std::conditional_t<std::is_same_v<T, double>, double, float>; \
        F const f = F(v);                                                       \
        return of_float;                                                        \
      }                                                                         \
    });                                                                         \
  }
namespace {
constexpr bool isnan_of_whole(auto) { return false; }
constexpr bool isinf_of_whole(auto) { return false; }
constexpr bool isposinf_of_whole(auto) { return false; }
constexpr bool isneginf_of_whole(auto) { return false; }
constexpr bool isfinite_of_whole(auto) { return true; }
constexpr bool signbit_of_whole(auto v) { return v < decltype(v)(0); }
}  // namespace
HEED_QUESTION(isnan, f != f)
HEED_QUESTION(isinf, std::abs(f) == std::numeric_limits<F>::infinity())
HEED_QUESTION(isposinf, f == std::numeric_limits<F>::infinity())
HEED_QUESTION(isneginf, f == -std::numeric_limits<F>::infinity())
HEED_QUESTION(isfinite, std::abs(f) < std::numeric_limits<F>::infinity())
HEED_QUESTION(signbit, std::copysign(F(1), f) < 0)

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
  for (bool close : isclose(a, b, rtol, atol, equal_nan).to_vector<bool>())
    if (!close) return false;
  return true;
}
bool equal(Tensor const& a, Tensor const& b) {
  if (!(a.shape() == b.shape())) return false;
  for (bool same : (a == b).to_vector<bool>())
    if (!same) return false;
  return true;
}

}  // namespace heed
