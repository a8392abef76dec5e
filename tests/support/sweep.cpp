#include "sweep.h"

#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <bit>
#include <cmath>
#include <mutex>

namespace heed::test {
namespace {

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }
double gelu_of(double x) { return x == -INFINITY ? NAN : 0.5 * x * std::erfc(-x * 0.70710678118654752440); }
double softplus_of(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

/// The distance of neighbouring floats around y, that of the subnormals near 0.
double unit_at(double y) {
  int const exponent = std::max(std::ilogb(y), -126);
  return std::ldexp(1, exponent - 23);
}

}  // namespace

std::vector<Swept> const& swept_functions() {
  static std::vector<Swept> const all = {
      {"exp", exp, std::exp, 2, 0},
      {"log", log, std::log, 2, 0},
      {"tanh", tanh, std::tanh, 2, 0},
      {"erf", erf, std::erf, 2, 0},
      {"sigmoid", sigmoid, sigmoid_of, 4, 0},
      {"sin", sin, std::sin, 4, 0},
      {"cos", cos, std::cos, 4, 0},
      {"gelu", gelu, gelu_of, 4, 1e-7},
      {"softplus", [](Tensor const& x) { return softplus(x); }, softplus_of, 4, 0},
  };
  return all;
}

SweepResult sweep(Swept const& f, uint64_t stride) {
  NoGrad const off;
  constexpr int64_t block = 1 << 16;
  uint64_t const count = ((uint64_t{1} << 32) + stride - 1) / stride;
  SweepResult total;
  std::mutex mutex;
  parallel_for(int64_t((count + block - 1) / block), 1, [&](int64_t first, int64_t last) {
    SweepResult mine;
    for (int64_t b = first; b < last; ++b) {
      int64_t const n = std::min(block, int64_t(count) - b * block);
      Tensor x({n}, Dtype::f32);
      auto* const xs = x.data<float>();
      for (int64_t i = 0; i < n; ++i) xs[i] = std::bit_cast<float>(uint32_t(uint64_t(b * block + i) * stride));
      Tensor const y = f.op(x);
      auto const* const ys = y.data<float>();
      for (int64_t i = 0; i < n; ++i) {
        double const want = f.exact(double(xs[i])), got = double(ys[i]);
        if (std::isnan(want) || std::isnan(got)) {
          mine.wrong += std::isnan(want) != std::isnan(got);
          continue;
        }
        double const rounded = double(float(want));
        if (std::isinf(rounded) || std::isinf(got)) {
          // Infinite a step too early or too late is an error of that step.
          if (rounded == got) continue;
          double const largest = 3.4028234663852886e38;
          bool const near =
              (std::isinf(got) ? std::abs(want) : std::abs(got)) > largest * (1 - 0x1p-21) && got * want > 0;
          mine.wrong += !near;
          continue;
        }
        double const error = std::abs(got - want);
        double const ulp = error / unit_at(want);
        mine.absolute = std::max(mine.absolute, error);
        if (std::abs(want) >= 0x1p-126) mine.relative = std::max(mine.relative, error / std::abs(want));
        if (error > f.absolute) mine.beyond = std::max(mine.beyond, ulp);
        if (ulp > mine.ulp) mine.ulp = ulp, mine.at = xs[i];
      }
    }
    std::lock_guard const lock(mutex);
    if (mine.ulp > total.ulp) total.ulp = mine.ulp, total.at = mine.at;
    total.absolute = std::max(total.absolute, mine.absolute);
    total.relative = std::max(total.relative, mine.relative);
    total.beyond = std::max(total.beyond, mine.beyond);
    total.wrong += mine.wrong;
  });
  return total;
}

}  // namespace heed::test
