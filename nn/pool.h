// Pooling layers over one to three axes: MaxPool2d(2), AvgPool1d(3, {.stride = 1}), AdaptiveAvgPool2d(1).
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/module.h>

namespace heed::nn {

template <int axes>
class MaxPool : public Layer<MaxPool<axes>> {
 public:
  explicit MaxPool(Spatial const& kernel, MaxPoolOptions const& options = {}) : kernel(kernel), options(options) {}
  Tensor forward(Tensor const& x) const {
    if constexpr (axes == 1) return max_pool1d(x, kernel, options);
    if constexpr (axes == 2) return max_pool2d(x, kernel, options);
    if constexpr (axes == 3) return max_pool3d(x, kernel, options);
  }
  void visit(Visitor&) override {}

  Spatial kernel;
  MaxPoolOptions options;
};
using MaxPool1d = MaxPool<1>;
using MaxPool2d = MaxPool<2>;
using MaxPool3d = MaxPool<3>;

template <int axes>
class AvgPool : public Layer<AvgPool<axes>> {
 public:
  explicit AvgPool(Spatial const& kernel, AvgPoolOptions const& options = {}) : kernel(kernel), options(options) {}
  Tensor forward(Tensor const& x) const {
    if constexpr (axes == 1) return avg_pool1d(x, kernel, options);
    if constexpr (axes == 2) return avg_pool2d(x, kernel, options);
    if constexpr (axes == 3) return avg_pool3d(x, kernel, options);
  }
  void visit(Visitor&) override {}

  Spatial kernel;
  AvgPoolOptions options;
};
using AvgPool1d = AvgPool<1>;
using AvgPool2d = AvgPool<2>;
using AvgPool3d = AvgPool<3>;

template <int axes>
class AdaptiveAvgPool : public Layer<AdaptiveAvgPool<axes>> {
 public:
  explicit AdaptiveAvgPool(Spatial const& out) : out(out) {}
  Tensor forward(Tensor const& x) const {
    if constexpr (axes == 1) return adaptive_avg_pool1d(x, out);
    if constexpr (axes == 2) return adaptive_avg_pool2d(x, out);
    if constexpr (axes == 3) return adaptive_avg_pool3d(x, out);
  }
  void visit(Visitor&) override {}

  Spatial out;
};
using AdaptiveAvgPool1d = AdaptiveAvgPool<1>;
using AdaptiveAvgPool2d = AdaptiveAvgPool<2>;
using AdaptiveAvgPool3d = AdaptiveAvgPool<3>;

}  // namespace heed::nn
