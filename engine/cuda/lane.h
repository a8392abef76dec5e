// One number of a formula on an accelerator: the names of engine/lane.h for float and double, by CUDA's math library
// (under g++ the C library's).
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/special_formulas.h>

#include <cmath>
#include <type_traits>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// The result of a comparison: no conversion to bool, so that a formula cannot branch on data.
template <class V>
struct Mask {
  bool b;
  friend constexpr Mask operator&(Mask x, Mask y) { return {x.b && y.b}; }
  friend constexpr Mask operator|(Mask x, Mask y) { return {x.b || y.b}; }
  friend constexpr Mask operator!(Mask x) { return {!x.b}; }
};

template <class V>
struct Lane {
  using Scalar = V;
  V v;

  constexpr Lane() : v(0) {}
  template <class A>
  requires std::is_arithmetic_v<A>
  constexpr Lane(A value) : v(V(value)) {}

  friend constexpr Lane operator+(Lane a, Lane b) { return a.v + b.v; }
  friend constexpr Lane operator-(Lane a, Lane b) { return a.v - b.v; }
  friend constexpr Lane operator*(Lane a, Lane b) { return a.v * b.v; }
  friend constexpr Lane operator/(Lane a, Lane b) { return a.v / b.v; }
  friend constexpr Lane operator-(Lane a) { return -a.v; }
  constexpr Lane& operator+=(Lane b) { return *this = *this + b; }
  constexpr Lane& operator-=(Lane b) { return *this = *this - b; }
  constexpr Lane& operator*=(Lane b) { return *this = *this * b; }
  constexpr Lane& operator/=(Lane b) { return *this = *this / b; }
  friend constexpr Mask<V> operator<(Lane a, Lane b) { return {a.v < b.v}; }
  friend constexpr Mask<V> operator<=(Lane a, Lane b) { return {a.v <= b.v}; }
  friend constexpr Mask<V> operator>(Lane a, Lane b) { return {a.v > b.v}; }
  friend constexpr Mask<V> operator>=(Lane a, Lane b) { return {a.v >= b.v}; }
  friend constexpr Mask<V> operator==(Lane a, Lane b) { return {a.v == b.v}; }
  friend constexpr Mask<V> operator!=(Lane a, Lane b) { return {a.v != b.v}; }
};

template <class V>
constexpr Lane<V> select(Mask<V> mask, std::type_identity_t<Lane<V>> a, std::type_identity_t<Lane<V>> b) {
  return mask.b ? a : b;
}
template <class V>
constexpr bool any(Mask<V> mask) {
  return mask.b;
}
template <class V>
constexpr Lane<V> constant_like(Lane<V>, double c) {
  return c;
}
template <class V>
constexpr Mask<V> isnan(Lane<V> x) {
  return x != x;
}

// The second operand where one is NaN.
template <class V>
constexpr Lane<V> max(Lane<V> a, Lane<V> b) {
  return a.v > b.v ? a : b;
}
template <class V>
constexpr Lane<V> max(Lane<V> a, double b) {
  return max(a, Lane<V>(b));
}
template <class V>
constexpr Lane<V> max(double a, Lane<V> b) {
  return max(Lane<V>(a), b);
}
template <class V>
constexpr Lane<V> min(Lane<V> a, Lane<V> b) {
  return a.v < b.v ? a : b;
}
template <class V>
constexpr Lane<V> min(Lane<V> a, double b) {
  return min(a, Lane<V>(b));
}
template <class V>
constexpr Lane<V> min(double a, Lane<V> b) {
  return min(Lane<V>(a), b);
}

#define HEED_DEVICE_FUNCTION(name, f32, f64) \
  template <class V>                         \
  constexpr Lane<V> name(Lane<V> x) {        \
    if constexpr (std::is_same_v<V, float>)  \
      return ::f32(x.v);                     \
    else                                     \
      return ::f64(x.v);                     \
  }
HEED_DEVICE_FUNCTION(abs, fabsf, fabs)
HEED_DEVICE_FUNCTION(sqrt, sqrtf, sqrt)
HEED_DEVICE_FUNCTION(floor, floorf, floor)
HEED_DEVICE_FUNCTION(ceil, ceilf, ceil)
HEED_DEVICE_FUNCTION(trunc, truncf, trunc)
HEED_DEVICE_FUNCTION(round, rintf, rint)  // half to even
HEED_DEVICE_FUNCTION(exp, expf, exp)
HEED_DEVICE_FUNCTION(expm1, expm1f, expm1)
HEED_DEVICE_FUNCTION(log, logf, log)
HEED_DEVICE_FUNCTION(log1p, log1pf, log1p)
HEED_DEVICE_FUNCTION(sin, sinf, sin)
HEED_DEVICE_FUNCTION(cos, cosf, cos)
HEED_DEVICE_FUNCTION(tanh, tanhf, tanh)
HEED_DEVICE_FUNCTION(erf, erff, erf)
HEED_DEVICE_FUNCTION(exp2, exp2f, exp2)
HEED_DEVICE_FUNCTION(log2, log2f, log2)
HEED_DEVICE_FUNCTION(log10, log10f, log10)
HEED_DEVICE_FUNCTION(atan, atanf, atan)
HEED_DEVICE_FUNCTION(asin, asinf, asin)
HEED_DEVICE_FUNCTION(acos, acosf, acos)
HEED_DEVICE_FUNCTION(tan, tanf, tan)
HEED_DEVICE_FUNCTION(sinh, sinhf, sinh)
HEED_DEVICE_FUNCTION(cosh, coshf, cosh)
HEED_DEVICE_FUNCTION(asinh, asinhf, asinh)
HEED_DEVICE_FUNCTION(acosh, acoshf, acosh)
HEED_DEVICE_FUNCTION(atanh, atanhf, atanh)
HEED_DEVICE_FUNCTION(erfc, erfcf, erfc)
#undef HEED_DEVICE_FUNCTION

// Rarely hot: in double.
#define HEED_DEVICE_FUNCTION(name, value) \
  template <class V>                      \
  constexpr Lane<V> name(Lane<V> x) {     \
    double const v = double(x.v);         \
    return V(value);                      \
  }
HEED_DEVICE_FUNCTION(erfcx, special_formulas::erfcx(v))
HEED_DEVICE_FUNCTION(erfinv, special_formulas::erfinv(v))
HEED_DEVICE_FUNCTION(lgamma, ::lgamma(v))
HEED_DEVICE_FUNCTION(digamma, special_formulas::digamma(v))
HEED_DEVICE_FUNCTION(i0e, special_formulas::i0e(v))
HEED_DEVICE_FUNCTION(i1e, special_formulas::i1e(v))
#undef HEED_DEVICE_FUNCTION
#define HEED_DEVICE_FUNCTION(name, value)          \
  template <class V>                               \
  constexpr Lane<V> name(Lane<V> x, Lane<V> y) {   \
    double const a = double(x.v), b = double(y.v); \
    return V(value);                               \
  }
HEED_DEVICE_FUNCTION(polygamma, special_formulas::polygamma(a, b))
HEED_DEVICE_FUNCTION(zeta, special_formulas::zeta(a, b))
#undef HEED_DEVICE_FUNCTION

#define HEED_DEVICE_FUNCTION(name, f32, f64)     \
  template <class V>                             \
  constexpr Lane<V> name(Lane<V> x, Lane<V> y) { \
    if constexpr (std::is_same_v<V, float>)      \
      return ::f32(x.v, y.v);                    \
    else                                         \
      return ::f64(x.v, y.v);                    \
  }
HEED_DEVICE_FUNCTION(pow, powf, pow)
HEED_DEVICE_FUNCTION(copysign, copysignf, copysign)
HEED_DEVICE_FUNCTION(atan2, atan2f, atan2)
HEED_DEVICE_FUNCTION(hypot, hypotf, hypot)
HEED_DEVICE_FUNCTION(fmod, fmodf, fmod)
HEED_DEVICE_FUNCTION(nextafter, nextafterf, nextafter)
#undef HEED_DEVICE_FUNCTION

template <class V>
constexpr Lane<V> rsqrt(Lane<V> x) {
  return Lane<V>(1) / sqrt(x);
}
template <class V>
constexpr Lane<V> pow(Lane<V> x, double y) {
  return pow(x, Lane<V>(y));
}
template <class V>
constexpr Lane<V> pow(double x, Lane<V> y) {
  return pow(Lane<V>(x), y);
}

/// Φ(x) = erfc(−x/√2)/2: no cancellation in the lower tail.
template <class V>
constexpr Lane<V> normal_cdf(Lane<V> x) {
  if constexpr (std::is_same_v<V, float>)
    return 0.5f * ::erfcf(-0.70710678f * x.v);
  else
    return 0.5 * ::erfc(-0.70710678118654752 * x.v);
}
/// Through e^-|x| on either side, which neither overflows nor cancels.
template <class V>
constexpr Lane<V> sigmoid(Lane<V> x) {
  Lane<V> const e = exp(-abs(x));
  return select(x < 0., e, Lane<V>(1)) / (Lane<V>(1) + e);
}
/// log(1 + e^x)
template <class V>
constexpr Lane<V> softplus(Lane<V> x) {
  return max(Lane<V>(0), x) + log1p(exp(-abs(x)));
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
