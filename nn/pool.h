// Pooling layers over one to three axes: MaxPool2d(2), AvgPool1d(3, {.stride = 1}), AdaptiveAvgPool2d(1).
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/module.h>

namespace heed::nn {

/// op(x, kernel, options)
template <class Options, Tensor (*op)(Tensor const&, Spatial const&, Options const&)>
class Pool : public Layer<Pool<Options, op>> {
 public:
  explicit Pool(Spatial const& kernel, Options const& options = {}) : kernel(kernel), options(options) {}
  Tensor forward(Tensor const& x) const { return op(x, kernel, options); }
  void visit(Visitor&) override {}

  Spatial kernel;
  Options options;
};
using MaxPool1d = Pool<MaxPoolOptions, max_pool1d>;
using MaxPool2d = Pool<MaxPoolOptions, max_pool2d>;
using MaxPool3d = Pool<MaxPoolOptions, max_pool3d>;
using AvgPool1d = Pool<AvgPoolOptions, avg_pool1d>;
using AvgPool2d = Pool<AvgPoolOptions, avg_pool2d>;
using AvgPool3d = Pool<AvgPoolOptions, avg_pool3d>;

/// op(x, out), whatever the size of x
template <Tensor (*op)(Tensor const&, Spatial const&)>
class AdaptivePool : public Layer<AdaptivePool<op>> {
 public:
  explicit AdaptivePool(Spatial const& out) : out(out) {}
  Tensor forward(Tensor const& x) const { return op(x, out); }
  void visit(Visitor&) override {}

  Spatial out;
};
using AdaptiveAvgPool1d = AdaptivePool<adaptive_avg_pool1d>;
using AdaptiveAvgPool2d = AdaptivePool<adaptive_avg_pool2d>;
using AdaptiveAvgPool3d = AdaptivePool<adaptive_avg_pool3d>;
using AdaptiveMaxPool1d = AdaptivePool<adaptive_max_pool1d>;
using AdaptiveMaxPool2d = AdaptivePool<adaptive_max_pool2d>;
using AdaptiveMaxPool3d = AdaptivePool<adaptive_max_pool3d>;

}  // namespace heed::nn
