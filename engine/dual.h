// Forward-mode dual numbers: a value and its derivative along one direction, carried through a formula together.
// N is a Lane (one number or one register), a Dual (second derivatives) or a Tensor: what N's functions are called is
// found by argument-dependent lookup, so this header knows none of them.
#pragma once

#include <type_traits>

namespace heed {

/// v + d·ε, ε² = 0. Seed d with 1 for a derivative with respect to this operand.
template <class N>
struct Dual {
  N v, d;

  friend constexpr Dual operator+(Dual const& a, Dual const& b) { return {a.v + b.v, a.d + b.d}; }
  friend constexpr Dual operator-(Dual const& a, Dual const& b) { return {a.v - b.v, a.d - b.d}; }
  friend constexpr Dual operator*(Dual const& a, Dual const& b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
  friend constexpr Dual operator/(Dual const& a, Dual const& b) {
    N const y = a.v / b.v;
    return {y, (a.d - y * b.d) / b.v};
  }
  friend constexpr Dual operator-(Dual const& a) { return {-a.v, -a.d}; }

  // A literal has no derivative: mixed forms cost no more than N's own.
  friend constexpr Dual operator+(Dual const& a, double c) { return {a.v + c, a.d}; }
  friend constexpr Dual operator+(double c, Dual const& a) { return {c + a.v, a.d}; }
  friend constexpr Dual operator-(Dual const& a, double c) { return {a.v - c, a.d}; }
  friend constexpr Dual operator-(double c, Dual const& a) { return {c - a.v, -a.d}; }
  friend constexpr Dual operator*(Dual const& a, double c) { return {a.v * c, a.d * c}; }
  friend constexpr Dual operator*(double c, Dual const& a) { return {c * a.v, c * a.d}; }
  friend constexpr Dual operator/(Dual const& a, double c) { return {a.v / c, a.d / c}; }
  friend constexpr Dual operator/(double c, Dual const& a) {
    N const y = c / a.v;
    return {y, -(y * a.d) / a.v};
  }

  constexpr Dual& operator+=(auto const& b) { return *this = *this + b; }
  constexpr Dual& operator-=(auto const& b) { return *this = *this - b; }
  constexpr Dual& operator*=(auto const& b) { return *this = *this * b; }
  constexpr Dual& operator/=(auto const& b) { return *this = *this / b; }

  // Comparisons are those of the values; what they return, select takes.
  friend constexpr auto operator<(Dual const& a, Dual const& b) { return a.v < b.v; }
  friend constexpr auto operator<=(Dual const& a, Dual const& b) { return a.v <= b.v; }
  friend constexpr auto operator>(Dual const& a, Dual const& b) { return a.v > b.v; }
  friend constexpr auto operator>=(Dual const& a, Dual const& b) { return a.v >= b.v; }
  friend constexpr auto operator==(Dual const& a, Dual const& b) { return a.v == b.v; }
  friend constexpr auto operator!=(Dual const& a, Dual const& b) { return a.v != b.v; }
  friend constexpr auto operator<(Dual const& a, double c) { return a.v < c; }
  friend constexpr auto operator<=(Dual const& a, double c) { return a.v <= c; }
  friend constexpr auto operator>(Dual const& a, double c) { return a.v > c; }
  friend constexpr auto operator>=(Dual const& a, double c) { return a.v >= c; }
  friend constexpr auto operator==(Dual const& a, double c) { return a.v == c; }
  friend constexpr auto operator!=(Dual const& a, double c) { return a.v != c; }
};

template <class N>
constexpr Dual<N> constant_like(Dual<N> const& x, double c) {
  return {constant_like(x.v, c), constant_like(x.v, 0.)};
}

/// Both parts are chosen, never blended by arithmetic: a NaN or inf in the branch not taken stays there.
template <class M, class N>
constexpr Dual<N> select(M const& mask, Dual<N> const& a, Dual<N> const& b) {
  return {select(mask, a.v, b.v), select(mask, a.d, b.d)};
}
template <class M, class N>
constexpr Dual<N> select(M const& mask, Dual<N> const& a, double b) {
  return select(mask, a, constant_like(a, b));
}
template <class M, class N>
constexpr Dual<N> select(M const& mask, double a, Dual<N> const& b) {
  return select(mask, constant_like(b, a), b);
}

template <class N>
constexpr auto isnan(Dual<N> const& x) {
  return isnan(x.v);
}

/// a > b ? a : b, NaN giving b, as for Lane; the derivative is that of the operand chosen.
template <class N>
constexpr Dual<N> max(Dual<N> const& a, Dual<N> const& b) {
  return select(a.v > b.v, a, b);
}
template <class N>
constexpr Dual<N> max(Dual<N> const& a, double b) {
  return max(a, constant_like(a, b));
}
template <class N>
constexpr Dual<N> max(double a, Dual<N> const& b) {
  return max(constant_like(b, a), b);
}
template <class N>
constexpr Dual<N> min(Dual<N> const& a, Dual<N> const& b) {
  return select(a.v < b.v, a, b);
}
template <class N>
constexpr Dual<N> min(Dual<N> const& a, double b) {
  return min(a, constant_like(a, b));
}
template <class N>
constexpr Dual<N> min(double a, Dual<N> const& b) {
  return min(constant_like(b, a), b);
}

template <class N>
constexpr Dual<N> exp(Dual<N> const& x) {
  N const y = exp(x.v);
  return {y, y * x.d};
}
template <class N>
constexpr Dual<N> expm1(Dual<N> const& x) {
  N const y = expm1(x.v);
  return {y, (y + 1.) * x.d};
}
template <class N>
constexpr Dual<N> log(Dual<N> const& x) {
  return {log(x.v), x.d / x.v};
}
template <class N>
constexpr Dual<N> log1p(Dual<N> const& x) {
  return {log1p(x.v), x.d / (1. + x.v)};
}
template <class N>
constexpr Dual<N> tanh(Dual<N> const& x) {
  N const y = tanh(x.v);
  return {y, (1. - y * y) * x.d};
}
template <class N>
constexpr Dual<N> erf(Dual<N> const& x) {
  return {erf(x.v), 1.12837916709551257 * exp(-(x.v * x.v)) * x.d};  // 2/√π
}
template <class N>
constexpr Dual<N> sin(Dual<N> const& x) {
  return {sin(x.v), cos(x.v) * x.d};
}
template <class N>
constexpr Dual<N> cos(Dual<N> const& x) {
  return {cos(x.v), -(sin(x.v) * x.d)};
}
template <class N>
constexpr Dual<N> sqrt(Dual<N> const& x) {
  N const y = sqrt(x.v);
  return {y, 0.5 * x.d / y};
}
template <class N>
constexpr Dual<N> rsqrt(Dual<N> const& x) {
  N const y = rsqrt(x.v);
  return {y, -0.5 * (y * y * y) * x.d};
}

/// 0 at 0, and for NaN.
template <class N>
constexpr Dual<N> abs(Dual<N> const& x) {
  N const zero = constant_like(x.d, 0.);
  return {abs(x.v), select(x.v > 0., x.d, select(x.v < 0., -x.d, zero))};
}
/// Derivative by x only: the sign operand is constant but for its jump.
template <class N>
constexpr Dual<N> copysign(Dual<N> const& x, Dual<N> const& sign) {
  N const y = copysign(x.v, sign.v);
  return {y, select(copysign(constant_like(y, 1.), x.v) == copysign(constant_like(y, 1.), sign.v), x.d, -x.d)};
}
template <class N>
constexpr Dual<N> floor(Dual<N> const& x) {
  return {floor(x.v), constant_like(x.d, 0.)};
}
template <class N>
constexpr Dual<N> ceil(Dual<N> const& x) {
  return {ceil(x.v), constant_like(x.d, 0.)};
}
template <class N>
constexpr Dual<N> round(Dual<N> const& x) {
  return {round(x.v), constant_like(x.d, 0.)};
}
template <class N>
constexpr Dual<N> trunc(Dual<N> const& x) {
  return {trunc(x.v), constant_like(x.d, 0.)};
}

/// d(x^y) = y·x^(y-1)·dx + x^y·log(x)·dy. Where y = 0, and in the second term where x = 0 <= y, the factor is 0
/// (the limit), though the formula would give 0·inf. The logarithm is taken of 1 there, for readings in reverse.
template <class N>
constexpr Dual<N> pow(Dual<N> const& x, Dual<N> const& y) {
  N const z = pow(x.v, y.v);
  N const zero = constant_like(z, 0.), one = constant_like(z, 1.);
  N const by_x = select(y.v == 0., zero, y.v * pow(x.v, select(y.v == 0., one, y.v - 1.)));
  auto const flat = (x.v == 0.) & (y.v >= 0.);
  N const by_y = select(flat, zero, z * log(select(flat, one, x.v)));
  // A direction that is constant 0 must stay 0 where its factor is not finite (log of a negative base).
  return {z, select(x.d == 0., zero, by_x * x.d) + select(y.d == 0., zero, by_y * y.d)};
}
template <class N>
constexpr Dual<N> pow(Dual<N> const& x, double y) {
  N const z = pow(x.v, y);
  if (y == 0.) return {z, constant_like(x.d, 0.)};
  return {z, y * pow(x.v, y - 1.) * x.d};
}
template <class N>
constexpr Dual<N> pow(double x, Dual<N> const& y) {
  return pow(constant_like(y, x), y);
}

template <class N>
constexpr Dual<N> tan(Dual<N> const& x) {
  N const y = tan(x.v);
  return {y, (1. + y * y) * x.d};
}
template <class N>
constexpr Dual<N> sinh(Dual<N> const& x) {
  return {sinh(x.v), cosh(x.v) * x.d};
}
template <class N>
constexpr Dual<N> cosh(Dual<N> const& x) {
  return {cosh(x.v), sinh(x.v) * x.d};
}
template <class N>
constexpr Dual<N> asinh(Dual<N> const& x) {
  return {asinh(x.v), x.d * rsqrt(x.v * x.v + 1.)};
}
template <class N>
constexpr Dual<N> acosh(Dual<N> const& x) {
  return {acosh(x.v), x.d * rsqrt((x.v - 1.) * (x.v + 1.))};
}
template <class N>
constexpr Dual<N> atanh(Dual<N> const& x) {
  return {atanh(x.v), x.d / ((1. - x.v) * (1. + x.v))};
}
template <class N>
constexpr Dual<N> sigmoid(Dual<N> const& x) {
  N const y = sigmoid(x.v);
  return {y, y * (1. - y) * x.d};
}
template <class N>
constexpr Dual<N> softplus(Dual<N> const& x) {
  return {softplus(x.v), sigmoid(x.v) * x.d};
}
template <class N>
constexpr Dual<N> hypot(Dual<N> const& x, Dual<N> const& y) {
  N const h = hypot(x.v, y.v);
  return {h, x.v / h * x.d + y.v / h * y.d};
}
template <class N>
constexpr Dual<N> atan(Dual<N> const& x) {
  return {atan(x.v), x.d / (1. + x.v * x.v)};
}
template <class N>
constexpr Dual<N> asin(Dual<N> const& x) {
  return {asin(x.v), x.d / sqrt((1. - x.v) * (1. + x.v))};
}
template <class N>
constexpr Dual<N> acos(Dual<N> const& x) {
  return {acos(x.v), -(x.d / sqrt((1. - x.v) * (1. + x.v)))};
}
template <class N>
constexpr Dual<N> exp2(Dual<N> const& x) {
  N const y = exp2(x.v);
  return {y, 0.693147180559945309 * y * x.d};  // log 2
}
template <class N>
constexpr Dual<N> log2(Dual<N> const& x) {
  return {log2(x.v), 1.44269504088896341 * x.d / x.v};  // 1/log 2
}
template <class N>
constexpr Dual<N> log10(Dual<N> const& x) {
  return {log10(x.v), 0.434294481903251828 * x.d / x.v};  // 1/log 10
}
template <class N>
constexpr Dual<N> erfc(Dual<N> const& x) {
  return {erfc(x.v), -1.12837916709551257 * exp(-(x.v * x.v)) * x.d};  // 2/√π
}
template <class N>
constexpr Dual<N> erfcx(Dual<N> const& x) {
  N const y = erfcx(x.v);
  return {y, (2. * x.v * y - 1.12837916709551257) * x.d};
}
template <class N>
constexpr Dual<N> erfinv(Dual<N> const& x) {
  N const y = erfinv(x.v);
  return {y, 0.886226925452758014 * exp(y * y) * x.d};  // √π/2
}
template <class N>
constexpr Dual<N> lgamma(Dual<N> const& x) {
  return {lgamma(x.v), digamma(x.v) * x.d};
}
template <class N>
constexpr Dual<N> digamma(Dual<N> const& x) {
  return {digamma(x.v), polygamma(constant_like(x.v, 1.), x.v) * x.d};
}
/// By x only: the order is a whole number.
template <class N>
constexpr Dual<N> polygamma(Dual<N> const& n, Dual<N> const& x) {
  return {polygamma(n.v, x.v), polygamma(n.v + 1., x.v) * x.d};
}
/// ∂ζ(s, x)/∂x = −s·ζ(s + 1, x); by s there is no closed form, and NaN says so.
template <class N>
constexpr Dual<N> zeta(Dual<N> const& s, Dual<N> const& x) {
  N const by_s = select(s.d == 0., constant_like(s.d, 0.), constant_like(s.d, __builtin_nan("")));
  return {zeta(s.v, x.v), by_s - s.v * zeta(s.v + 1., x.v) * x.d};
}
/// (e^-|x| I₀)' = e^-|x| (I₁ − sign(x)·I₀)
template <class N>
constexpr Dual<N> i0e(Dual<N> const& x) {
  N const y = i0e(x.v);
  return {y, (i1e(x.v) - select(x.v > 0., y, select(x.v < 0., -y, constant_like(y, 0.)))) * x.d};
}
/// (e^-|x| I₁)' = e^-|x| (I₀ − I₁/x − sign(x)·I₁), ½ at 0
template <class N>
constexpr Dual<N> i1e(Dual<N> const& x) {
  N const y = i1e(x.v), safe = select(x.v == 0., constant_like(y, 1.), x.v);
  N const slope = i0e(x.v) - y / safe - select(x.v > 0., y, -y);
  return {y, select(x.v == 0., constant_like(y, 0.5), slope) * x.d};
}
template <class N>
constexpr Dual<N> atan2(Dual<N> const& y, Dual<N> const& x) {
  N const square = x.v * x.v + y.v * y.v;
  return {atan2(y.v, x.v), (x.v * y.d - y.v * x.d) / square};
}
/// x − y·trunc(x/y)
template <class N>
constexpr Dual<N> fmod(Dual<N> const& x, Dual<N> const& y) {
  return {fmod(x.v, y.v), x.d - trunc(x.v / y.v) * y.d};
}
template <class N>
constexpr Dual<N> nextafter(Dual<N> const& x, Dual<N> const& y) {
  return {nextafter(x.v, y.v), x.d};
}

}  // namespace heed
