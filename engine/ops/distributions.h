// The named distributions: what one element draws, the same on the processor and in kernels of accelerators. R is
// double.
#pragma once

#include <heed/engine/dtype.h>
#include <heed/engine/random.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

namespace heed {
namespace distributions {

inline constexpr double infinity = std::numeric_limits<double>::infinity(),
                        nan = std::numeric_limits<double>::quiet_NaN();

/// The numbers of one element: the words of blocks `element`, `element` + 2⁴⁰, `element` + 2·2⁴⁰, … of a draw.
class Stream {
 public:
  constexpr Stream(Draw draw, int64_t element) : draw_(draw), block_(uint64_t(element)) {}

  constexpr uint64_t bits() {
    if (used_ == 4) {
      words_ =
          philox4x32({uint32_t(block_), uint32_t(block_ >> 32), uint32_t(draw_.offset), uint32_t(draw_.offset >> 32)},
                     {uint32_t(draw_.seed), uint32_t(draw_.seed >> 32)});
      block_ += uint64_t{1} << 40;
      used_ = 0;
    }
    uint64_t const two = uint64_t{words_[size_t(used_) + 1]} << 32 | words_[size_t(used_)];
    used_ += 2;
    return two;
  }
  /// Within (0, 1), from 52 bits.
  constexpr double uniform() { return (double(bits() >> 12) + 0.5) * 0x1p-52; }
  /// Past n uniforms, of a stream that has given none.
  constexpr void skip(int64_t n) {
    block_ += uint64_t(n / 2) << 40;
    if (n % 2) bits();
  }
  template <class R = double>
  constexpr R exponential() {
    return -std::log(R(uniform()));
  }
  template <class R = double>
  constexpr R normal() {
    R const radius = std::sqrt(2 * exponential());
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }
  /// Of 0 … n − 1.
  constexpr uint64_t below(uint64_t n) { return uint64_t((unsigned __int128)(bits()) * n >> 64); }

 private:
  Draw draw_;
  uint64_t block_;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
};

/// log k!
template <class R>
constexpr R log_factorial(R k) {
  if (k < 16) {
    double product = 1;
    for (int i = 2; i <= int(k); ++i) product *= i;
    return std::log(product);
  }
  double const n = k + 1, inverse = 1 / (n * n);
  return (n - 0.5) * std::log(n) - n + 0.5 * std::log(2 * std::numbers::pi) +
         (1. / 12 - inverse * (1. / 360 - inverse * (1. / 1260 - inverse / 1680))) / n;
}

/// log of a gamma variable: below shape 1, Γ(a) = Γ(a + 1)·U^(1/a).
template <class R>
constexpr R log_gamma_variable(Stream& stream, R a) {
  if (a == 0) return -infinity;
  double const shift = a < 1 ? std::log(stream.uniform()) / a : 0;
  double const d = (a < 1 ? a + 1 : a) - 1. / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    double const x = stream.normal(), root = 1 + c * x;
    if (root <= 0) continue;
    double const v = root * root * root;
    if (std::log(stream.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v) + shift;
  }
}

/// By products of uniforms below rate 10, else transformed rejection with squeeze.
template <class R>
constexpr R poisson_variable(Stream& stream, R rate) {
  if (rate < 10) {
    double const limit = std::exp(-rate);
    double k = 0;
    for (double product = stream.uniform(); product > limit; product *= stream.uniform()) ++k;
    return k;
  }
  double const b = 0.931 + 2.53 * std::sqrt(rate), a = -0.059 + 0.02483 * b;
  double const inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), squeeze = 0.9277 - 3.6224 / (b - 2);
  for (;;) {
    double const u = stream.uniform() - 0.5, v = stream.uniform(), us = 0.5 - std::abs(u);
    double const k = std::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= squeeze) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (std::log(v * inverse_alpha / (a / (us * us) + b)) <= k * std::log(rate) - rate - log_factorial(k)) return k;
  }
}

/// Gaps between successes below n·p = 10, else transformed rejection with squeeze.
template <class R>
constexpr R rare_successes(Stream& stream, R n, R p) {
  if (p == 0) return 0;
  if (n * p < 10) {
    double const log_q = std::log1p(-p);
    double k = 0;
    for (double at = std::ceil(std::log(stream.uniform()) / log_q); at <= n;
         at += std::ceil(std::log(stream.uniform()) / log_q))
      ++k;
    return k;
  }
  double const deviation = std::sqrt(n * p * (1 - p)), b = 1.15 + 2.53 * deviation;
  double const a = -0.0873 + 0.0248 * b + 0.01 * p, alpha = (2.83 + 5.1 / b) * deviation;
  double const mode = std::floor((n + 1) * p), log_odds = std::log(p / (1 - p));
  double const at_mode = log_factorial(mode) + log_factorial(n - mode);
  for (;;) {
    double const u = stream.uniform() - 0.5, v = stream.uniform(), us = 0.5 - std::abs(u);
    double const k = std::floor((2 * a / us + b) * u + n * p + 0.5);
    if (k < 0 || k > n) continue;
    if (us >= 0.07 && v <= 0.92 - 4.2 / b) return k;
    if (std::log(v * alpha / (a / (us * us) + b)) <=
        at_mode - log_factorial(k) - log_factorial(n - k) + (k - mode) * log_odds)
      return k;
  }
}

template <class R>
constexpr R binomial_variable(Stream& stream, R n, R p) {
  return p > 0.5 ? n - rare_successes(stream, n, 1 - p) : rare_successes(stream, n, p);
}

/// N(0, 1) within [a, b], b ≥ 0: from the normal, the uniform, or an exponential that starts at a, whichever rejects
/// little.
template <class R>
constexpr R right_truncated(Stream& stream, R a, R b) {
  if (a <= 0) {
    if (b - a > std::sqrt(2 * std::numbers::pi))
      for (;;)
        if (double const z = stream.normal(); z >= a && z <= b) return z;
    for (;;) {
      double const z = a + (b - a) * stream.uniform();
      if (stream.uniform() < std::exp(-0.5 * z * z)) return z;
    }
  }
  double const rate = 0.5 * (a + std::sqrt(a * a + 4));
  if (b > a + std::exp(0.5 * a / rate) * 1.6487212707 / rate) {
    for (;;) {
      double const z = a + stream.exponential() / rate;
      if (z <= b && stream.uniform() < std::exp(-0.5 * (z - rate) * (z - rate))) return z;
    }
  }
  for (;;) {
    double const z = a + (b - a) * stream.uniform();
    if (stream.uniform() < std::exp(0.5 * (a - z) * (a + z))) return z;
  }
}

template <class R>
constexpr R truncated_variable(Stream& stream, R a, R b) {
  return b < 0 ? -right_truncated(stream, -b, -a) : right_truncated(stream, a, b);
}

enum class Law : uint8_t {
  uniform,
  log_normal,
  truncated_normal,
  exponential,
  laplace,
  cauchy,
  geometric,
  gumbel,
  bernoulli,
  poisson,
  binomial,
  gamma,
  log_gamma,
  beta
};

/// A law and its parameters, those that are the same for all elements. Where first (and second) are given, element i
/// has a = first[i] (and b = second[i]).
struct Recipe {
  Law law;
  double a = 0, b = 0, c = 0, d = 0;
  Dtype dtype = Dtype::f64;  // what uniforms are rounded to
  int64_t in_row = 0;        // so many uniforms or exponentials, one after the other, are of one stream; 0: one
  double const *first = nullptr, *second = nullptr;
};

/// x, rounded to a type.
template <class R>
constexpr R rounded(R x, Dtype dtype) {
  if (dtype == Dtype::f64) return x;
  if (dtype == Dtype::f16) return double(float(float16(float(x))));
  return dtype == Dtype::bf16 ? double(float(bfloat16(float(x)))) : double(float(x));
}

/// Element i of a draw; NaN where its parameters are no distribution's.
template <class R = double>
constexpr R element(Recipe const& recipe, Draw draw, int64_t i) {
  Stream s(draw, recipe.in_row ? i / recipe.in_row : i);
  if (recipe.in_row) s.skip(i % recipe.in_row);
  double const a = recipe.first ? recipe.first[i] : recipe.a, b = recipe.second ? recipe.second[i] : recipe.b;
  switch (recipe.law) {
    case Law::uniform: {  // on [a, b)
      double const x = a + (b - a) * s.uniform();
      return rounded(x, recipe.dtype) < b ? x : a;  // rounding may reach b
    }
    case Law::log_normal:  // of mean a and deviation b
      return std::exp(a + b * s.normal());
    case Law::truncated_normal: {  // of mean a and deviation b within [c, d]
      double const x = a + b * truncated_variable(s, (recipe.c - a) / b, (recipe.d - a) / b);
      return x < recipe.c ? recipe.c : recipe.d < x ? recipe.d : x;
    }
    case Law::exponential:  // of rate a
      return s.exponential() / a;
    case Law::laplace: {  // around a, of scale b
      double const size = b * s.exponential();
      return a + (s.bits() >> 63 ? size : -size);
    }
    case Law::cauchy:
      return a + b * std::tan(std::numbers::pi * (s.uniform() - 0.5));
    case Law::geometric:  // of probability a
      return std::ceil(std::log(s.uniform()) / std::log1p(-a));
    case Law::gumbel:
      return -std::log(s.exponential());
    case Law::bernoulli:
      return a >= 0 && a <= 1 ? double(s.uniform() < a) : nan;
    case Law::poisson:  // of rate a
      return a >= 0 && a < infinity ? poisson_variable(s, a) : nan;
    case Law::binomial:  // a trials of probability b
      return a >= 0 && a < infinity && b >= 0 && b <= 1 ? binomial_variable(s, std::floor(a), b) : nan;
    case Law::gamma: {  // of concentration a, at least c
      if (!(a >= 0 && a < infinity)) return nan;
      double const x = std::exp(log_gamma_variable(s, a));
      return a == 0 ? 0 : x < recipe.c ? recipe.c : x;
    }
    case Law::log_gamma:
      return a >= 0 && a < infinity ? log_gamma_variable(s, a) : nan;
    case Law::beta: {
      if (!(a > 0 && a < infinity && b > 0 && b < infinity)) return nan;
      double const x = log_gamma_variable(s, a), y = log_gamma_variable(s, b);
      return 1 / (1 + std::exp(y - x));
    }
  }
  return nan;
}

}  // namespace distributions

/// An accelerator's: y_i = element i, stored as f32 or f64.
struct DistributionKernels {
  void (*sample)(distributions::Recipe const&, Draw draw, Dtype dtype, void* y, int64_t n);
};

inline char const* kernels_name(DistributionKernels const*) { return "distribution_kernels"; }

}  // namespace heed
