// Global filters.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>

#include <algorithm>

namespace heed::nn {

/// F⁻¹(K ⊙ F(x)), K complex and learned for each frequency and feature: a circular convolution as large as the grid
/// (Rao et al., "Global filter networks", GFNet, 2021): T·log T·dim, parameters block·dim. Over `block` positions, on a
/// grid of `width` columns read row by row, or on a line; shorter inputs end in zeros. K = 1 gives x. For images: sees
/// all of them, chooses nothing by content, and wraps around their borders.
class GlobalFilter final : public Attention {
 public:
  struct Config {
    int64_t width = 0;
    void visit(ConfigVisitor& v) { v.field("width", width, "columns of the grid; 0: a sequence"); }
  };
  GlobalFilter(AttentionConfig const& given, Config const& own)
      : Attention(given), width_(own.width ? own.width : config.block) {
    expect_at_least(1, "gfnet", "block (the longest sequence)", config.block);
    expect_at_least(1, "gfnet", "width", width_);
    filter = empty({(config.block + width_ - 1) / width_, width_ / 2 + 1, config.dim, 2});
    init::normal_(filter, 0.02);
    filter.requires_grad_();
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override { visitor.parameter("filter", filter); }

  Tensor filter;  // [rows, columns/2 + 1, dim, 2]

 private:
  Tensor mix(Tensor const& x, AttentionContext const&) const override {
    int64_t const b = x.size(0), t = x.size(1), h = filter.size(0);
    expect_fits("gfnet", t, config.block);
    Dtype const wide = x.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32;
    Tensor const grid = pad(x.to(wide), {0, 0, 0, h * width_ - t}).view({b, h, width_, config.dim});
    Tensor const kept = complex_mul(rfft2(grid, {.axes = {1, 2}}), filter.to(wide));
    Tensor const y = irfft2(kept, {.s = {h, width_}, .axes = {1, 2}});
    return y.reshape({b, h * width_, config.dim}).slice(1, 0, t).to(x.dtype());
  }
  int64_t width_;
};

}  // namespace heed::nn
