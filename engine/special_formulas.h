// The formulas of special.h, for the processor and for kernels of accelerators: R is double.
#pragma once

#include <cmath>
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

}  // namespace heed::special_formulas
