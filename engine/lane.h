// The one header that includes xsimd: one name per operation for a scalar and for a batch of the level being compiled.
// Only *.simd.cpp files include it. Everything here lives in the level's own inline namespace, because the same
// inline function compiled for two levels must never be merged by the linker.
#pragma once

#include <heed/engine/special.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

// g++ 12 takes the undefined operands inside its own AVX-512 intrinsics for uninitialised variables (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <xsimd/xsimd.hpp>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#ifndef HEED_ISA_LEVEL
#error "include engine/lane.h from *.simd.cpp files only: they are compiled once per level"
#endif

namespace heed {
inline namespace HEED_ISA_LEVEL {

template <class T>
using Batch = xsimd::batch<T>;

template <class V>
struct LaneTraits {  // V: float or double
  using Scalar = V;
  using Bool = bool;
  static constexpr int width = 1;
};
template <class T, class A>
struct LaneTraits<xsimd::batch<T, A>> {
  using Scalar = T;
  using Bool = xsimd::batch_bool<T, A>;
  static constexpr int width = int(xsimd::batch<T, A>::size);
};

/// The result of a comparison: no conversion to bool, so that a formula cannot branch on data.
template <class V>
struct Mask {
  using Bool = typename LaneTraits<V>::Bool;
  Bool b;
  friend Mask operator&(Mask x, Mask y) {
    if constexpr (LaneTraits<V>::width == 1)
      return {x.b && y.b};
    else
      return {x.b & y.b};
  }
  friend Mask operator|(Mask x, Mask y) {
    if constexpr (LaneTraits<V>::width == 1)
      return {x.b || y.b};
    else
      return {x.b | y.b};
  }
  friend Mask operator!(Mask x) { return {!x.b}; }
};

/// A number of a formula: float, double, or one register of them. Arithmetic literals convert to the element type.
template <class V>
struct Lane {
  using Scalar = typename LaneTraits<V>::Scalar;
  static constexpr int width = LaneTraits<V>::width;
  V v;

  Lane() = default;
  Lane(V value) : v(value) {}
  template <class A>
  requires(std::is_arithmetic_v<A> && !std::is_same_v<A, V>) Lane(A value) : v(Scalar(value)) {}

  static Lane load(Scalar const* from) {
    if constexpr (width == 1)
      return *from;
    else
      return V::load_unaligned(from);
  }
  void store(Scalar* to) const {
    if constexpr (width == 1)
      *to = v;
    else
      v.store_unaligned(to);
  }
  /// The first `count` elements, 0 <= count <= width; the others are `fill`. Nothing past them is read.
  static Lane load_first(Scalar const* from, int count, Scalar fill = 0) {
    if constexpr (width == 1) {
      return count > 0 ? *from : fill;
    } else {
#if defined(__AVX512F__)
      if constexpr (std::is_same_v<Scalar, float>)
        return V(_mm512_mask_loadu_ps(_mm512_set1_ps(fill), __mmask16((1u << count) - 1), from));
      else
        return V(_mm512_mask_loadu_pd(_mm512_set1_pd(fill), __mmask8((1u << count) - 1), from));
#elif defined(__AVX2__)
      if constexpr (std::is_same_v<Scalar, float>) {
        __m256i const mask = first_mask(count);
        return V(_mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(from, mask), _mm256_castsi256_ps(mask)));
      } else {
        __m256i const mask = first_mask(count);
        return V(_mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(from, mask), _mm256_castsi256_pd(mask)));
      }
#else
      alignas(64) Scalar buffer[width];
      for (int i = 0; i < width; ++i) buffer[i] = i < count ? from[i] : fill;
      return load(buffer);
#endif
    }
  }
  /// Nothing past the first `count` elements is written.
  void store_first(Scalar* to, int count) const {
    if constexpr (width == 1) {
      if (count > 0) *to = v;
    } else {
#if defined(__AVX512F__)
      if constexpr (std::is_same_v<Scalar, float>)
        _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), v);
      else
        _mm512_mask_storeu_pd(to, __mmask8((1u << count) - 1), v);
#elif defined(__AVX2__)
      if constexpr (std::is_same_v<Scalar, float>)
        _mm256_maskstore_ps(to, first_mask(count), v);
      else
        _mm256_maskstore_pd(to, first_mask(count), v);
#else
      alignas(64) Scalar buffer[width];
      store(buffer);
      for (int i = 0; i < count; ++i) to[i] = buffer[i];
#endif
    }
  }

  friend Lane operator+(Lane a, Lane b) { return a.v + b.v; }
  friend Lane operator-(Lane a, Lane b) { return a.v - b.v; }
  friend Lane operator*(Lane a, Lane b) { return a.v * b.v; }
  friend Lane operator/(Lane a, Lane b) {
#if defined(__aarch64__)
    if constexpr (width > 1 && std::is_same_v<Scalar, float>)
      return V(vdivq_f32(a.v, b.v));  // xsimd 8.1 multiplies by an approximate reciprocal
    else
#endif
      return a.v / b.v;
  }
  friend Lane operator-(Lane a) {
    if constexpr (width == 1)
      return -a.v;
    else
      return a.v ^ V(Scalar(-0.));
  }
  Lane& operator+=(Lane b) { return *this = *this + b; }
  Lane& operator-=(Lane b) { return *this = *this - b; }
  Lane& operator*=(Lane b) { return *this = *this * b; }
  Lane& operator/=(Lane b) { return *this = *this / b; }
  friend Mask<V> operator<(Lane a, Lane b) { return {a.v < b.v}; }
  friend Mask<V> operator<=(Lane a, Lane b) { return {a.v <= b.v}; }
  friend Mask<V> operator>(Lane a, Lane b) { return {a.v > b.v}; }
  friend Mask<V> operator>=(Lane a, Lane b) { return {a.v >= b.v}; }
  friend Mask<V> operator==(Lane a, Lane b) { return {a.v == b.v}; }
  friend Mask<V> operator!=(Lane a, Lane b) { return !(a == b); }

#if defined(__AVX2__) && !defined(__AVX512F__)
 private:
  static __m256i first_mask(int count) {
    if constexpr (sizeof(Scalar) == 4)
      return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    else
      return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
  }
#endif
};

/// One register of the level, as a Lane.
template <class T>
using Vec = Lane<Batch<T>>;

/// a·b + c, rounded once where the level has the instruction (all but baseline, where it is a multiply and an add).
/// (xsimd 8.1 has no fused form for AVX-512.)
template <class V>
Lane<V> fma(Lane<V> a, Lane<V> b, Lane<V> c) {
#if defined(__FMA__) || defined(__aarch64__)
  if constexpr (Lane<V>::width == 1) return std::fma(a.v, b.v, c.v);
#if defined(__AVX512F__)
  else if constexpr (std::is_same_v<typename Lane<V>::Scalar, float>)
    return V(_mm512_fmadd_ps(a.v, b.v, c.v));
  else
    return V(_mm512_fmadd_pd(a.v, b.v, c.v));
#else
  else
    return xsimd::fma(a.v, b.v, c.v);
#endif
#else
  return a * b + c;
#endif
}

/// mask ? a : b; literals convert.
template <class V>
Lane<V> select(Mask<V> mask, std::type_identity_t<Lane<V>> a, std::type_identity_t<Lane<V>> b) {
  if constexpr (Lane<V>::width == 1)
    return mask.b ? a : b;
  else
    return xsimd::select(mask.b, a.v, b.v);
}

template <class V>
bool any(Mask<V> mask) {
  if constexpr (LaneTraits<V>::width == 1)
    return mask.b;
  else
    return xsimd::any(mask.b);
}
template <class V>
bool all(Mask<V> mask) {
  if constexpr (LaneTraits<V>::width == 1)
    return mask.b;
  else
    return xsimd::all(mask.b);
}

/// A constant where a formula needs a value of x's kind: one name for Lane, Dual and Tensor.
template <class V>
Lane<V> constant_like(Lane<V>, double c) {
  return c;
}

template <class V>
Mask<V> isnan(Lane<V> x) {
  return x != x;
}

/// a > b ? a : b. When one is NaN the result is b: max(0., x) passes a NaN of x on, max(x, 0.) drops it.
template <class V>
Lane<V> max(Lane<V> a, Lane<V> b) {
#if defined(__x86_64__)
  if constexpr (Lane<V>::width > 1) return xsimd::max(a.v, b.v);  // maxps has exactly this rule
#endif
  return select(a > b, a, b);
}
template <class V>
Lane<V> max(Lane<V> a, double b) {
  return max(a, Lane<V>(b));
}
template <class V>
Lane<V> max(double a, Lane<V> b) {
  return max(Lane<V>(a), b);
}

/// a < b ? a : b, with the same rule.
template <class V>
Lane<V> min(Lane<V> a, Lane<V> b) {
#if defined(__x86_64__)
  if constexpr (Lane<V>::width > 1) return xsimd::min(a.v, b.v);
#endif
  return select(a < b, a, b);
}
template <class V>
Lane<V> min(Lane<V> a, double b) {
  return min(a, Lane<V>(b));
}
template <class V>
Lane<V> min(double a, Lane<V> b) {
  return min(Lane<V>(a), b);
}

#if defined(__aarch64__)
// xsimd 8.1's NEON forms approximate the square root of floats and lose the sign of rounded zeros.
#define HEED_LANE_BATCH(batch, neon)                             \
  if constexpr (std::is_same_v<typename Lane<V>::Scalar, float>) \
    return V(neon##_f32(x.v));                                   \
  else                                                           \
    return V(neon##_f64(x.v));
#else
#define HEED_LANE_BATCH(batch, neon) return xsimd::batch(x.v);
#endif
#define HEED_LANE_EXACT(name, scalar, batch, neon) \
  template <class V>                               \
  Lane<V> name(Lane<V> x) {                        \
    if constexpr (Lane<V>::width == 1)             \
      return scalar(x.v);                          \
    else {                                         \
      HEED_LANE_BATCH(batch, neon)                 \
    }                                              \
  }
HEED_LANE_EXACT(abs, std::fabs, abs, vabsq)
HEED_LANE_EXACT(sqrt, std::sqrt, sqrt, vsqrtq)
HEED_LANE_EXACT(floor, std::floor, floor, vrndmq)
HEED_LANE_EXACT(ceil, std::ceil, ceil, vrndpq)
HEED_LANE_EXACT(trunc, std::trunc, trunc, vrndq)
/// Half to even.
HEED_LANE_EXACT(round, std::nearbyint, nearbyint, vrndnq)
#undef HEED_LANE_BATCH
#undef HEED_LANE_EXACT

/// 1 / sqrt(x), both correctly rounded: no approximate instruction, so the same bits on every level.
template <class V>
Lane<V> rsqrt(Lane<V> x) {
  return 1. / sqrt(x);
}

template <class V>
Lane<V> copysign(Lane<V> x, Lane<V> sign) {
  if constexpr (Lane<V>::width == 1)
    return std::copysign(x.v, sign.v);
  else
    return xsimd::copysign(x.v, sign.v);
}

namespace lane_detail {

/// f of every element, one by one, by the C library: for double, which serves checking, and for rare arguments.
template <class V, class T = typename Lane<V>::Scalar>
[[gnu::noinline]] Lane<V> each(Lane<V> x, T (*f)(T)) {
  alignas(64) T buffer[Lane<V>::width];
  x.store(buffer);
  for (T& element : buffer) element = f(element);
  return Lane<V>::load(buffer);
}
template <class V, class T = typename Lane<V>::Scalar>
[[gnu::noinline]] Lane<V> each(Lane<V> x, Lane<V> y, T (*f)(T, T)) {
  alignas(64) T buffer[Lane<V>::width], other[Lane<V>::width];
  x.store(buffer);
  y.store(other);
  for (int i = 0; i < Lane<V>::width; ++i) buffer[i] = f(buffer[i], other[i]);
  return Lane<V>::load(buffer);
}

template <class V>
inline constexpr bool is_f32 = std::is_same_v<typename Lane<V>::Scalar, float>;

/// The bits of an f32 as int32: an int32_t or a batch of them, for + - & ^ << and the arithmetic >>.
template <class V>
auto bits(Lane<V> x) {
  if constexpr (Lane<V>::width == 1)
    return __builtin_bit_cast(int32_t, x.v);
  else
    return xsimd::bitwise_cast<xsimd::batch<int32_t, typename V::arch_type>>(x.v);
}
template <class V, class I>
Lane<V> from_bits(I i) {
  if constexpr (Lane<V>::width == 1)
    return __builtin_bit_cast(float, i);
  else
    return xsimd::bitwise_cast<V>(i);
}
template <class V, class I>
Lane<V> from_int(I i) {
  if constexpr (Lane<V>::width == 1)
    return float(i);
  else
    return xsimd::to_float(i);
}

/// 2^n for a whole n of [-126, 127]: n + 1.5·2^23 has n in its last bits.
template <class V>
Lane<V> two_to(Lane<V> n) {
  return from_bits<V>(bits(n + (12582912. + 127.)) << 23);
}

/// c₀ + c₁x + c₂x² + … by Horner's rule. (Estrin's pairs gain on baseline only, and cost on AVX.)
template <class V>
Lane<V> polynomial(Lane<V>, double c) {
  return c;
}
template <class V, class... C>
Lane<V> polynomial(Lane<V> x, double c, C... higher) {
  return fma(polynomial(x, higher...), x, Lane<V>(c));
}

/// x = n·ln 2 + r, |r| <= ln 2 / 2; ln 2 in two parts, the first of 9 bits so that n times it is exact.
template <class V>
struct ExpParts {
  Lane<V> n, r;
  Lane<V> shifted;  // n + 1.5·2^23: n in its last bits
  explicit ExpParts(Lane<V> x) {
    shifted = fma(x, Lane<V>(1.44269504088896341), Lane<V>(12582912.));
    n = shifted - 12582912.;
    r = fma(n, Lane<V>(-0.693359375), x);
    r = fma(n, Lane<V>(2.12194440054690583e-4), r);
  }
  /// e^r - 1. Minimax (Remez, error 3e-9 of e^r).
  Lane<V> expm1() const {
    return fma(polynomial(r, 0.4999999337, 0.1666651952, 0.04166840116, 0.008368851117, 0.001381431631), r * r, r);
  }
};

/// e^x for -87 <= x <= 88, or NaN.
template <class V>
Lane<V> exp_inner(Lane<V> x) {
  ExpParts<V> const parts(x);
  return (1. + parts.expm1()) * two_to(parts.n);
}

/// log(1 + f) + e·ln 2 for f of [√½ - 1, √2 - 1]. Minimax for (log1p(f) - f + f²/2) / f³, error 7e-10 · f³.
template <class V>
Lane<V> log_inner(Lane<V> f, Lane<V> e) {
  Lane<V> const z = f * f;
  Lane<V> y = f * z *
              polynomial(f, 0.3333331054, -0.2499998643, 0.2000222236, -0.1666925868, 0.1421871471, -0.1238421234,
                         0.1187259302, -0.1179067871, 0.06917139054);
  y = fma(e, Lane<V>(-2.12194440054690583e-4), y);
  y = fma(z, Lane<V>(-0.5), y);
  return fma(e, Lane<V>(0.693359375), f + y);
}

/// sin (shift 0) or cos (shift 1) of a >= 0 by quadrants, with the sign bit to flip. π/2 in four parts, three of
/// 11 bits, whose products are exact up to 2^13 quadrants.
template <class V>
auto sine_quadrant(Lane<V> a, int shift) {
  Lane<V> const n = round(a * 0.636619772367581343);
  Lane<V> r = fma(n, Lane<V>(-1.5703125), a);
  r = fma(n, Lane<V>(-0.0004837512969970703), r);
  r = fma(n, Lane<V>(-7.549533620476723e-08), r);
  r = fma(n, Lane<V>(-2.5633440682570896e-12), r);
  Lane<V> const z = r * r;
  Lane<V> const sine = fma(r * z, polynomial(z, -0.1666666664, 0.008333329362, -0.0001983932714, 2.718237313e-6), r);
  Lane<V> const cosine =
      fma(z * z, polynomial(z, 0.04166666662, -0.001388888372, 2.479951177e-5, -2.720954798e-7), 1. - 0.5 * z);
  auto const quadrant = bits(n + 12582912.) + shift;
  Lane<V> const odd = from_bits<V>((quadrant & 1) << 30);  // 2.f or 0.f
  struct {
    Lane<V> value;
    decltype(bits(a)) sign;
  } result{select(odd > 0., cosine, sine), (quadrant & 2) << 30};
  return result;
}
inline constexpr double sine_limit = 12800;

}  // namespace lane_detail

/// f32: 1 ulp; inf above 88.7228, subnormal below -87.33, 0 below -103.97.
template <class V>
Lane<V> exp(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::exp);
  } else {
#if !defined(__AVX512F__)
    // Where 2^n and the result are normal numbers n is added to the exponent: the same bits, half the work.
    if (lane_detail::ExpParts<V> const parts(x); !any(!(abs(x) < 87.)))
      return lane_detail::from_bits<V>(lane_detail::bits(1. + parts.expm1()) +
                                       (lane_detail::bits(parts.shifted) << 23));
#endif
    lane_detail::ExpParts<V> const parts(min(100., max(-110., x)));
    Lane<V> const y = 1. + parts.expm1();
#if defined(__AVX512F__)
    if constexpr (Lane<V>::width > 1) return V(_mm512_scalef_ps(y.v, parts.n.v));
#endif
    Lane<V> const n = min(127., max(-126., parts.n));  // 2^n alone reaches neither inf nor the subnormals
    return y * lane_detail::two_to(n) * lane_detail::two_to(parts.n - n);
  }
}

/// f32: 2 ulp.
template <class V>
Lane<V> expm1(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::expm1);
  } else {
    // 2^n (e^r - 1) + 2^n - 1, as 2^b (2^a (e^r - 1) + (2^a - 2^-b)) with n = a + b.
    lane_detail::ExpParts<V> const parts(min(100., max(-20., x)));
    Lane<V> const a = min(64., parts.n), b = parts.n - a;
    Lane<V> const two_a = lane_detail::two_to(a);
    Lane<V> const y = fma(parts.expm1(), two_a, two_a - lane_detail::two_to(-b)) * lane_detail::two_to(b);
    return copysign(y, x);
  }
}

/// f32: 1 ulp; log(0) = -inf, NaN below.
template <class V>
Lane<V> log(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::log);
  } else {
    Mask<V> const small = x < 0x1p-126;
    Lane<V> const scaled = select(small, x * 0x1p23, x);
    auto const i = lane_detail::bits(scaled);
    auto const e = (i - 0x3f3504f3) >> 23;  // the bits of √½
    Lane<V> const f = lane_detail::from_bits<V>(i - (e << 23)) - 1.;
    Lane<V> y = lane_detail::log_inner(f, lane_detail::from_int<V>(e) + select(small, -23., 0.));
    y = select(x < __builtin_inf(), y, x);
    y = select(x == 0., -__builtin_inf(), y);
    return select(x < 0., __builtin_nan(""), y);
  }
}

/// f32: 1.5 ulp; -inf at -1, NaN below.
template <class V>
Lane<V> log1p(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::log1p);
  } else {
    Lane<V> const u = 1. + x;
    auto const i = lane_detail::bits(u);
    auto const e = (i - 0x3f3504f3) >> 23;
    // 1 + x = 2^e (1 + f): f from x while its last bits count, from the rounded sum above 2^24.
    Lane<V> const s = lane_detail::from_bits<V>((127 - e) << 23);
    Lane<V> const f = select(x < 0x1p24, x * s + (s - 1.), lane_detail::from_bits<V>(i - (e << 23)) - 1.);
    Lane<V> y = copysign(lane_detail::log_inner(f, lane_detail::from_int<V>(e)), x);
    y = select(x < __builtin_inf(), y, x);
    y = select(x == -1., -__builtin_inf(), y);
    return select(x < -1., __builtin_nan(""), y);
  }
}

/// f32: 2 ulp. A polynomial in x² (minimax, error 2e-10) below 0.625, above 1 − 2e / (1 + e) with e = e^-2a.
template <class V>
Lane<V> tanh(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::tanh);
  } else {
    Lane<V> const a = min(10., abs(x)), z = a * a;
    Lane<V> const small = fma(a * z,
                              lane_detail::polynomial(z, -0.3333333091, 0.1333320977, -0.05394720442, 0.02170296783,
                                                      -0.008182675487, 0.002147538243),
                              a);
    Lane<V> const e = lane_detail::exp_inner(-2. * a);
    return copysign(select(a < 0.625, small, 1. - 2. * e / (1. + e)), x);
  }
}

namespace lane_detail {
/// erf a for 0 <= a < 0.92, and −log erfc a from there to 4; both minimax (errors 4e-10 and 2e-9).
template <class V>
Lane<V> erf_small(Lane<V> a) {
  return fma(a,
             polynomial(a * a, 0.128379167, -0.3761263385, 0.1128369733, -0.02685950026, 0.00520128646,
                        -0.0008145601663, 8.382407258e-5),
             a);
}
template <class V>
Lane<V> erf_tail(Lane<V> a) {
  return polynomial(a, 0.0001664990589, 1.12779702, 0.6369764756, 0.1041133202, -0.02231503386, 0.003065443843,
                    -0.0001982147769);
}
}  // namespace lane_detail

/// f32: 1.5 ulp.
template <class V>
Lane<V> erf(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::erf);
  } else {
    Lane<V> const a = min(4., abs(x));
    Lane<V> const y =
        select(a < 0.92, lane_detail::erf_small(a), 1. - lane_detail::exp_inner(-lane_detail::erf_tail(a)));
    return copysign(y, x);
  }
}

/// Φ(x) = ½erfc(−x/√2). f32: an absolute error of 6e-8, and 4e-6 of the value down to −5.65; 0 from −12 on. Φ(−a) is
/// 2^q with q a polynomial in a (minimax up to 5.65, falling beyond), and 2^r on [−½, ½] another (error 2e-9).
template <class V>
Lane<V> normal_cdf(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    using T = typename Lane<V>::Scalar;
    return lane_detail::each<V, T>(x, [](T v) { return T(0.5) * std::erfc(v * T(-0.70710678118654752)); });
  } else {
    Lane<V> const a = min(12., abs(x)), z = a * a;
    // Even and odd powers apart: half the latency.
    Lane<V> const odd =
        lane_detail::polynomial(z, -1.151104903, -0.05248881957, -7.779648017e-05, 6.445104836e-05, 6.625709081e-07);
    Lane<V> const even = lane_detail::polynomial(z, -0.9999999946, -0.4592097236, 0.007032079812, -0.0002397214902,
                                                 -8.872716453e-06, -2.120022465e-08);
    Lane<V> const q = fma(a, odd, even);
    Lane<V> const n = round(q), r = q - n;
    Lane<V> below = fma(r,
                        lane_detail::polynomial(r, 0.6931472029, 0.2402264791, 0.0555033246, 0.009618437355,
                                                0.00133988789, 0.0001535337336),
                        Lane<V>(1.));
#if defined(__AVX512F__)
    if constexpr (Lane<V>::width > 1)
      below = V(_mm512_scalef_ps(below.v, n.v));
    else
#endif
      below = below * lane_detail::two_to(max(-127., n));  // two_to(-127) is 0
    return select(x > 0., 1. - below, below);
  }
}

/// f32: 2.5 ulp; beyond 12,800 by the C library, element by element.
template <class V>
Lane<V> sin(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::sin);
  } else {
    Lane<V> const a = abs(x);
    if (any(a > lane_detail::sine_limit)) return lane_detail::each(x, std::sin);
    auto const part = lane_detail::sine_quadrant(a, 0);
    return lane_detail::from_bits<V>(lane_detail::bits(part.value) ^ part.sign ^
                                     (lane_detail::bits(x) & int32_t(0x80000000)));
  }
}
template <class V>
Lane<V> cos(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::cos);
  } else {
    Lane<V> const a = abs(x);
    if (any(a > lane_detail::sine_limit)) return lane_detail::each(x, std::cos);
    auto const part = lane_detail::sine_quadrant(a, 1);
    return lane_detail::from_bits<V>(lane_detail::bits(part.value) ^ part.sign);
  }
}

/// By the C library, element by element: C99's special cases, under 1 ulp.
template <class V>
Lane<V> pow(Lane<V> x, Lane<V> y) {
  return lane_detail::each(x, y, std::pow);
}
template <class V>
Lane<V> pow(Lane<V> x, double y) {
  return pow(x, Lane<V>(y));
}
template <class V>
Lane<V> pow(double x, Lane<V> y) {
  return pow(Lane<V>(x), y);
}

/// f32: 1.5 ulp. atan a = π/2 − atan 1/a above tan 3π/8, π/4 + atan (a − 1)/(a + 1) above tan π/8; minimax below.
template <class V>
Lane<V> atan(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::atan);
  } else {
    Lane<V> const a = abs(x);
    Mask<V> const large = a > 2.41421356237309505, middle = a > 0.414213562373095049;
    Lane<V> const r = select(large, -1. / a, select(middle, (a - 1.) / (a + 1.), a));
    Lane<V> const base = select(large, 1.57079632679489662, select(middle, 0.785398163397448310, 0.));
    Lane<V> const z = r * r;
    Lane<V> const p = lane_detail::polynomial(z, -0.333333155, 0.199984894, -0.1424384822, 0.1059599817, -0.0608344555);
    return copysign(base + fma(r * z, p, r), x);
  }
}

/// f32: 1 ulp, exact at whole numbers.
template <class V>
Lane<V> exp2(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>) {
    return lane_detail::each(x, std::exp2);
  } else {
    Lane<V> const clipped = min(160., max(-160., x)), n = round(clipped);
    lane_detail::ExpParts<V> parts(Lane<V>(0.));
    parts.r = (clipped - n) * 0.693147180559945309;
    Lane<V> const a = min(127., max(-126., n)), rest = min(127., max(-126., n - a));
    return (1. + parts.expm1()) * lane_detail::two_to(a) * lane_detail::two_to(rest);
  }
}

/// log(x)·scale with the exponent's part exact for powers of two: `high` + `low` is log(2)·scale.
namespace lane_detail {
template <class V>
Lane<V> scaled_log(Lane<V> x, double scale, double high, double low) {
  Mask<V> const small = x < 0x1p-126;
  Lane<V> const scaled = select(small, x * 0x1p23, x);
  auto const i = bits(scaled);
  auto const e = (i - 0x3f3504f3) >> 23;
  Lane<V> const f = from_bits<V>(i - (e << 23)) - 1., n = from_int<V>(e) + select(small, -23., 0.);
  Lane<V> y = fma(n, Lane<V>(high), fma(n, Lane<V>(low), log_inner(f, Lane<V>(0.)) * scale));
  y = select(x < __builtin_inf(), y, x);
  y = select(x == 0., -__builtin_inf(), y);
  return select(x < 0., __builtin_nan(""), y);
}
}  // namespace lane_detail
/// f32: 2 ulp, exact at powers of two.
template <class V>
Lane<V> log2(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>)
    return lane_detail::each(x, std::log2);
  else
    return lane_detail::scaled_log(x, 1.44269504088896341, 1., 0.);
}
/// f32: 2 ulp.
template <class V>
Lane<V> log10(Lane<V> x) {
  if constexpr (!lane_detail::is_f32<V>)
    return lane_detail::each(x, std::log10);
  else
    return lane_detail::scaled_log(x, 0.434294481903251828, 0.30078125, 2.48745663981195214e-4);
}

/// f32: 3 ulp each, by the functions above.
#define HEED_LANE_F32(name)                   \
  template <class V>                          \
  Lane<V> name(Lane<V> x) {                   \
    if constexpr (!lane_detail::is_f32<V>)    \
      return lane_detail::each(x, std::name); \
    else                                      \
      return lane_detail::name##_f32(x);      \
  }
namespace lane_detail {
template <class V>
Lane<V> tan_f32(Lane<V> x) {
  return sin(x) / cos(x);
}
/// ½(t + t/(t + 1)) with t = e^a − 1; from 80 on, before e^a overflows, by halves of the exponent.
template <class V>
Lane<V> sinh_f32(Lane<V> x) {
  Lane<V> const a = abs(x), t = expm1(min(80., a)), half = exp(0.5 * a);
  return copysign(select(a > 80., 0.5 * half * half, 0.5 * (t + t / (t + 1.))), x);
}
template <class V>
Lane<V> cosh_f32(Lane<V> x) {
  Lane<V> const a = abs(x), e = exp(min(80., a)), half = exp(0.5 * a);
  return select(a > 80., 0.5 * half * half, 0.5 * (e + 1. / e));
}
/// log(a + √(a² + 1)): by log1p, and by log 2a where the square would overflow.
template <class V>
Lane<V> asinh_f32(Lane<V> x) {
  Lane<V> const a = abs(x), near = min(1e8, a), square = near * near;
  Lane<V> const y = log1p(near + square / (1. + sqrt(square + 1.)));
  return copysign(select(a > 1e8, log(a) + 0.693147180559945309, y), x);
}
template <class V>
Lane<V> acosh_f32(Lane<V> x) {
  Lane<V> const t = min(1e8, x - 1.), y = log1p(t + sqrt(t) * sqrt(t + 2.));  // roots apart: NaN below 1
  return select(x > 1e8, log(x) + 0.693147180559945309, y);
}
template <class V>
Lane<V> atanh_f32(Lane<V> x) {
  Lane<V> const a = abs(x);
  return copysign(0.5 * log1p(2. * a / (1. - a)), x);
}
}  // namespace lane_detail
HEED_LANE_F32(tan)
HEED_LANE_F32(sinh)
HEED_LANE_F32(cosh)
HEED_LANE_F32(asinh)
HEED_LANE_F32(acosh)
HEED_LANE_F32(atanh)
#undef HEED_LANE_F32

/// 1/(1 + e⁻ˣ), by e^-|x|, so that neither end overflows.
template <class V>
Lane<V> sigmoid(Lane<V> x) {
  Lane<V> const e = exp(-abs(x)), r = 1. / (1. + e);
  return select(x > 0., r, e * r);
}
/// log(1 + eˣ), exact at both ends.
template <class V>
Lane<V> softplus(Lane<V> x) {
  return max(0., x) + log1p(exp(-abs(x)));
}

// Rarely hot: element by element.
#define HEED_LANE_EACH(name, value)                                  \
  template <class V>                                                 \
  Lane<V> name(Lane<V> x) {                                          \
    using T = typename Lane<V>::Scalar;                              \
    return lane_detail::each<V, T>(x, [](T v) { return T(value); }); \
  }
HEED_LANE_EACH(erfc, std::erfc(v))
HEED_LANE_EACH(erfinv, special::erfinv(double(v)))
HEED_LANE_EACH(erfcx, special::erfcx(double(v)))
HEED_LANE_EACH(lgamma, special::lgamma(double(v)))
HEED_LANE_EACH(digamma, special::digamma(double(v)))
HEED_LANE_EACH(i0e, special::i0e(double(v)))
HEED_LANE_EACH(i1e, special::i1e(double(v)))
HEED_LANE_EACH(asin, std::asin(v))
HEED_LANE_EACH(acos, std::acos(v))
#undef HEED_LANE_EACH
#define HEED_LANE_EACH(name, value)                                          \
  template <class V>                                                         \
  Lane<V> name(Lane<V> x, Lane<V> y) {                                       \
    using T = typename Lane<V>::Scalar;                                      \
    return lane_detail::each<V, T>(x, y, [](T a, T b) { return T(value); }); \
  }
HEED_LANE_EACH(atan2, std::atan2(a, b))
HEED_LANE_EACH(hypot, std::hypot(a, b))
HEED_LANE_EACH(fmod, std::fmod(a, b))
HEED_LANE_EACH(nextafter, std::nextafter(a, b))
HEED_LANE_EACH(polygamma, special::polygamma(double(a), double(b)))
HEED_LANE_EACH(zeta, special::zeta(double(a), double(b)))
#undef HEED_LANE_EACH

template <class V>
typename Lane<V>::Scalar reduce_add(Lane<V> a) {
  if constexpr (Lane<V>::width == 1)
    return a.v;
  else
    return xsimd::hadd(a.v);
}
template <class V>
typename Lane<V>::Scalar reduce_max(Lane<V> a) {
  if constexpr (Lane<V>::width == 1) {
    return a.v;
  } else {
    alignas(64) typename Lane<V>::Scalar buffer[Lane<V>::width];
    a.store(buffer);
    auto best = buffer[0];
    for (int i = 1; i < Lane<V>::width; ++i) best = buffer[i] > best ? buffer[i] : best;
    return best;
  }
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
