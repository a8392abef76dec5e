// The formulas of special.h, for the processor and for kernels of accelerators: R is double.
#pragma once

#include <math.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

namespace heed::special_formulas {

inline constexpr double infinity = std::numeric_limits<double>::infinity(),
                        nan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double pi = std::numbers::pi;

/// exp(−x)·I_order(x) for x ≥ 0, order 0 or 1.
template <class R>
constexpr R scaled_bessel(R x, int order) {
  if (x <= 30) {  // Σ (x/2)^(2k + order)/(k!·(k + order)!): positive terms, no cancellation
    double const half = x / 2;
    double term = order ? half : 1, sum = 0;
    for (int k = 1; term > 1e-17 * sum; ++k) {
      sum += term;
      term *= half * half / (double(k) * double(k + order));
    }
    return std::exp(-x) * sum;
  }
  if (x == infinity) return 0;
  double const mu = 4. * order;  // Hankel's expansion (Abramowitz and Stegun 9.7.1)
  double term = 1, sum = 0;
  for (int k = 1; k < 30 && std::abs(term) > 1e-17; ++k) {
    sum += term;
    term *= -(mu - double((2 * k - 1) * (2 * k - 1))) / (8 * k * x);
  }
  return sum / std::sqrt(2 * pi * x);
}

template <class R>
constexpr R digamma(R x) {
  if (x == 0) return std::copysign(infinity, -x);
  if (x == -infinity) return nan;
  double shift = 0;
  if (x < 0) {  // ψ(x) = ψ(1 − x) − π/tan(πx)
    double const fraction = x - std::trunc(x);
    if (fraction == 0) return nan;
    shift = -pi / std::tan(pi * fraction);
    x = 1 - x;
  }
  for (; x < 10; x += 1) shift -= 1 / x;
  double const z = 1 / (x * x);
  double const tail =
      z * (1. / 12 - z * (1. / 120 - z * (1. / 252 - z * (1. / 240 - z * (1. / 132 - z * (691. / 32760 - z / 12))))));
  return x == infinity ? infinity : shift + std::log(x) - 0.5 / x - tail;
}

template <class R>
constexpr R zeta(R s, R x) {
  if (s == 1) return infinity;
  if (!(s > 1)) return nan;
  if (x <= 0) {
    if (x == std::floor(x)) return infinity;
    if (s != std::floor(s)) return nan;  // a negative base
  }
  double sum = 0;
  for (; x < 12; x += 1) {
    double const term = std::pow(x, -s);
    sum += term;
    if (x > 0 && term < 1e-17 * sum) return sum;
  }
  // Σ from x on: the integral, half the first term, and derivatives at x.
  double const power = std::pow(x, -s);
  sum += power * x / (s - 1) + 0.5 * power;
  double factor = s * power / x;
  // B₂ₖ/(2k)! for k = 1 …: the coefficients of the Euler–Maclaurin formula.
  constexpr double coefficients[] = {1. / 12,
                                     -1. / 720,
                                     1. / 30240,
                                     -1. / 1209600,
                                     1. / 47900160,
                                     -691. / 1307674368000,
                                     1. / 74724249600,
                                     -3617. / 10670622842880000,
                                     43867. / 5109094217170944000};
  for (int k = 0; k < 9; ++k) {
    sum += coefficients[k] * factor;
    factor *= (s + 2 * k + 1) * (s + 2 * k + 2) / (x * x);
  }
  return sum;
}

template <class R>
constexpr R polygamma(R n, R x) {
  if (n == 0) return digamma(x);
  double const sign = std::fmod(n, 2) == 0 ? -1 : 1;
  if (x == infinity) return sign * 0.;
  return sign * std::tgamma(n + 1) * zeta(n + 1, x);
}

template <class R>
constexpr R erfinv(R x) {
  double const a = std::abs(x);
  if (!(a < 1)) return a == 1 ? std::copysign(infinity, x) : nan;
  // Winitzki's closed form (2008), good to 2e-3, then Halley's steps on whichever of erf and erfc keeps its digits.
  double const log_term = std::log1p(-a * a), c = 0.147, b = 2 / (pi * c) + log_term / 2;
  double const square = std::sqrt(b * b - log_term / c) - b;
  double y = std::sqrt(square > 0 ? square : 0.);
  for (int step = 0; step < 3; ++step) {
    double const error = a < 0.5 ? std::erf(y) - a : (1 - a) - std::erfc(y);
    double const delta = error * std::sqrt(pi) / 2 * std::exp(y * y);
    y -= delta / (1 + y * delta);
  }
  return std::copysign(y, x);
}

template <class R>
constexpr R erfcx(R x) {
  if (x < 25) return std::exp(x * x) * std::erfc(x);
  double const z = 1 / (2 * x * x);  // asymptotic
  return (1 - z * (1 - 3 * z * (1 - 5 * z * (1 - 7 * z * (1 - 9 * z))))) / (x * std::sqrt(pi));
}

template <class R>
constexpr R i0e(R x) {
  return std::isnan(x) ? x : scaled_bessel(std::abs(x), 0);
}
template <class R>
constexpr R i1e(R x) {
  return std::isnan(x) ? x : std::copysign(scaled_bessel(std::abs(x), 1), x);
}

// ---- Bessel functions -----------------------------------------------------------------------------------------------

enum class Function { bessel_j0, bessel_j1, bessel_y0, bessel_y1, k0, k1, scaled_k0, scaled_k1 };

/// eˣ·K_order(x) = ∫₀^∞ e^(−x·(cosh t − 1))·cosh(order·t) dt by the trapezoidal rule: the integrand is analytic in a
/// strip and falls off doubly exponentially, so that the error falls off exponentially in 1/step (Trefethen and
/// Weideman, 2014).
template <class R>
constexpr R scaled_k(R x, int order) {
  if (!(x > 0)) return x == 0 ? infinity : nan;
  if (x == infinity) return 0;
  double const fine = 0.6 / std::sqrt(x), step = fine < 0.2 ? fine : 0.2;
  double sum = 0.5;
  for (int k = 1;; ++k) {
    double const s = std::sinh(0.5 * k * step), term = std::exp(-2 * x * s * s) * (order ? std::cosh(k * step) : 1.);
    if (!(term > 1e-18 * sum)) return step * sum;
    sum += term;
  }
}

template <class R>
constexpr R value(Function f, R x) {
  switch (f) {
    case Function::bessel_j0:
      return ::j0(x);
    case Function::bessel_j1:
      return ::j1(x);
    case Function::bessel_y0:
      return ::y0(x);
    case Function::bessel_y1:
      return ::y1(x);
    case Function::k0:
    case Function::k1:
      return std::exp(-x) * scaled_k(x, f == Function::k1);
    default:
      return scaled_k(x, f == Function::scaled_k1);
  }
}

// ---- incomplete gamma functions -------------------------------------------------------------------------------------

/// log |Γ(x)|, on the processor without the C library's global sign.
template <class R>
constexpr R lgamma(R x) {
#ifdef __CUDACC__
  return ::lgamma(x);
#else
  int sign = 0;
  return ::lgamma_r(x, &sign);
#endif
}

/// xᵃ·e⁻ˣ/Γ(a + 1); for large a by Stirling's series, so that no large numbers cancel.
template <class R>
constexpr R gamma_term(R a, R x) {
  if (a < 30) return std::exp(a * std::log(x) - x - special_formulas::lgamma(a + 1));
  double const distance = (x - a) / a, z = 1 / (a * a);
  double const stirling = (1. / 12 - z * (1. / 360 - z * (1. / 1260 - z / 1680))) / a;
  double const power = std::abs(distance) < 0.5 ? std::log1p(distance) - distance : std::log(x / a) - distance;
  return std::exp(a * power - stirling) / std::sqrt(2 * pi * a);
}

/// Σ xᵏ/((a + 1)·…·(a + k)): the lower function is this times gamma_term (Abramowitz and Stegun 6.5.29).
template <class R>
constexpr R lower_series(R a, R x) {
  double sum = 1, term = 1;
  for (double k = 1; term > 1e-17 * sum; ++k) sum += term *= x / (a + k);
  return sum;
}

/// log Γ(1 + a), by its Taylor series −γ·a + Σ ζ(k)·(−a)ᵏ/k (Abramowitz and Stegun 6.1.33) where 1 + a loses a.
template <class R>
constexpr R lgamma1p(R a) {
  if (a > 0.03) return special_formulas::lgamma(1 + a);
  constexpr double terms[] = {0.100099457512781809, 0.111334265869564690, 0.125509669524743042, 0.144049896768846118,
                              0.169557176997408190, 0.207385551028673985, 0.270580808427784548, 0.400685634386531428,
                              0.822467033424113218, 0.577215664901532861};
  double sum = 0;
  for (int k = 0; k < 10; ++k) sum = terms[k] - a * sum;
  return -a * sum;
}

/// The upper function for small x and a: 1 − xᵃ/Γ(a + 1) + xᵃ/Γ(a)·Σ (−1)ᵏ⁺¹·xᵏ/(k!·(a + k)).
template <class R>
constexpr R upper_series(R a, R x) {
  double sum = 0, term = 1;
  for (int k = 1; k < 60; ++k) sum += (term *= -x / k) / (a + k);
  double const log_power = a * std::log(x), log_gamma = lgamma1p(a);
  return -std::expm1(log_power - log_gamma) - a * std::exp(log_power - log_gamma) * sum;
}

/// The upper function for x > a by its continued fraction (Abramowitz and Stegun 6.5.31), with Lentz's method.
template <class R>
constexpr R upper_fraction(R a, R x) {
  double b = x + 1 - a, c = 1e300, d = 1 / b, product = d;
  for (double k = 1; k < 1e5; ++k) {
    double const numerator = k * (a - k);
    b += 2;
    d = 1 / (numerator * d + b);
    c = b + numerator / c;
    product *= c * d;
    if (std::abs(c * d - 1) < 1e-16) break;
  }
  return gamma_term(a, x) * a * product;
}

/// Either function for large a, where the others need √a terms: ½·erfc(±η·√(a/2)) ± e^(−aη²/2)/√(2πa)·(1/μ − 1/η),
/// μ = x/a − 1, η²/2 = μ − log(1 + μ), with an error below 1/a^1.5 (Temme, 1979).
template <class R>
constexpr R uniform_expansion(R a, R x, bool upper) {
  double const mu = (x - a) / a;
  double const half =
      std::abs(mu) < 1e-3 ? mu * mu * (0.5 - mu * (1. / 3 - mu * (0.25 - mu / 5))) : mu - std::log1p(mu);
  double const eta = std::copysign(std::sqrt(2 * half), mu), at = eta * std::sqrt(a / 2);
  double const first = std::abs(eta) < 1e-3 ? eta / 12 - 1. / 3 : 1 / mu - 1 / eta;
  double const rest = std::exp(-a * half) / std::sqrt(2 * pi * a) * first;
  return upper ? 0.5 * std::erfc(at) + rest : 0.5 * std::erfc(-at) - rest;
}

/// The lower or the upper function: whichever is computed without cancellation, or 1 minus the other.
template <class R>
constexpr R incomplete_gamma(R a, R x, bool upper) {
  if (!(a >= 0 && x >= 0)) return nan;
  if (a == 0) return x > 0 ? double(!upper) : nan;
  if (x == 0) return upper;
  if (a == infinity) return x == infinity ? nan : double(upper);
  if (x == infinity) return !upper;
  if (a > 1e6) return uniform_expansion(a, x, upper);
  bool const small = x <= 1.1 && a < (x <= 0.5 ? -0.4 / std::log(x) : 1.1 * x);
  if (small || (x > 1.1 && x > a)) {
    double const q = small ? upper_series(a, x) : upper_fraction(a, x);
    return upper ? q : 1 - q;
  }
  double const p = gamma_term(a, x) * lower_series(a, x);
  return upper ? 1 - p : p;
}

// ---- orthogonal polynomials -----------------------------------------------------------------------------------------

enum class Family {
  chebyshev_t,
  chebyshev_u,
  chebyshev_v,
  chebyshev_w,
  shifted_chebyshev_t,
  shifted_chebyshev_u,
  shifted_chebyshev_v,
  shifted_chebyshev_w,
  hermite_h,
  hermite_he,
  laguerre_l,
  legendre_p
};

/// P_{k+1} = (slope·x + offset)·P_k − before·P_{k−1}, from P_0 = 1 and P_{−1} = 0.
struct Step {
  double slope, offset, before;
};

/// From degree k to the next.
template <class R>
constexpr Step step(Family family, R k) {
  constexpr double none = -0.;  // an offset that leaves the sign of zeros
  bool const first = k == 0;
  switch (family) {
    case Family::chebyshev_t:
      return {first ? 1. : 2., none, 1};
    case Family::chebyshev_u:
      return {2, none, 1};
    case Family::chebyshev_v:
      return {2, first ? -1. : none, 1};
    case Family::chebyshev_w:
      return {2, first ? 1. : none, 1};
    case Family::shifted_chebyshev_t:
      return {first ? 2. : 4., first ? -1. : -2., 1};
    case Family::shifted_chebyshev_u:
      return {4, -2, 1};
    case Family::shifted_chebyshev_v:
      return {4, first ? -3. : -2., 1};
    case Family::shifted_chebyshev_w:
      return {4, first ? -1. : -2., 1};
    case Family::hermite_h:
      return {2, none, 2 * k};
    case Family::hermite_he:
      return {1, none, k};
    case Family::laguerre_l:
      return {-1 / (k + 1), (2 * k + 1) / (k + 1), k / (k + 1)};
    default:  // Legendre
      return {(2 * k + 1) / (k + 1), none, k / (k + 1)};
  }
}

/// The derivative of order `order` of the polynomial of this degree, by those of all orders up to it, in scratch of
/// order + 1 numbers each. Each follows from those of one order less:
/// P⁽ᵐ⁾_{k+1} = (slope·x + offset)·P⁽ᵐ⁾_k + m·slope·P⁽ᵐ⁻¹⁾_k − before·P⁽ᵐ⁾_{k−1}.
template <class R>
constexpr R polynomial(Family family, int order, R x, int64_t degree, R* here, R* before) {
  for (int m = 0; m <= order; ++m) here[m] = before[m] = 0;
  here[0] = degree >= 0;
  for (int64_t k = 0; k < degree; ++k) {
    Step const by = step(family, double(k));
    double const factor = by.slope * x + by.offset;
    for (int m = order; m >= 0; --m) {
      double next = factor * here[m] - by.before * before[m];
      if (m > 0) next += double(m) * by.slope * here[m - 1];
      before[m] = here[m];
      here[m] = next;
    }
  }
  return here[order];
}
constexpr int most_orders = 8;  // an accelerator's

}  // namespace heed::special_formulas
