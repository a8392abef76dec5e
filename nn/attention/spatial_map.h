// Convolutions over positions that may form a grid.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/module.h>

#include <algorithm>
#include <cmath>

namespace heed::nn {

/// kernel×kernel on a grid of `width` columns read row by row, or `kernel` taps along a sequence (width 0), zeros
/// beyond the borders: [B, T, in] → [B, T, out].
class SpatialMap final : public Layer<SpatialMap> {
 public:
  SpatialMap(int64_t in, int64_t out, int64_t kernel, int64_t width, int64_t dilation = 1)
      : width_(width), dilation_(dilation) {
    check(kernel >= 1 && kernel % 2 == 1 && width >= 0 && dilation >= 1, "SpatialMap", [] {
      return Complaint{"expected an odd kernel, and a width of 0 or more", "use a kernel of 7"};
    });
    int64_t const across = width ? kernel : 1;
    weight = randn({out, in, kernel, across}) * (1 / std::sqrt(double(in * kernel * across)));
    bias = zeros({out});
    weight.requires_grad_(), bias.requires_grad_();
  }
  Tensor forward(Tensor const& x) const {
    int64_t const b = x.size(0), t = x.size(1), c = x.size(2), w = std::max(width_, int64_t{1}), h = (t + w - 1) / w;
    Tensor const grid = pad(x.transpose(1, 2), {0, h * w - t}).view({b, c, h, w});
    ConvPadding const sides{weight.size(2) / 2 * dilation_, weight.size(3) / 2 * dilation_};
    Tensor const y = conv2d(grid, weight, bias, {.padding = sides, .dilation = dilation_});
    return y.view({b, y.size(1), h * w}).slice(2, 0, t).transpose(1, 2);
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("weight", weight);
    visitor.parameter("bias", bias);
  }

  Tensor weight, bias;

 private:
  int64_t width_, dilation_;
};

}  // namespace heed::nn
