// Channels, then places.
#pragma once

#include <heed/nn/attention/channel.h>
#include <heed/nn/attention/spatial_map.h>

#include <cmath>

namespace heed::nn {

/// x′ = x ⊙ σ(M(mean_T x) + M(max_T x)), M two layers; then x′ ⊙ σ(conv([mean_dim x′, max_dim x′])): what matters, then
/// where (Woo et al., "CBAM", 2018): T·(dim + kernel²). For images in which places matter as channels do; "se" where
/// they do not.
class ConvolutionalBlockAttention final : public Attention {
 public:
  struct Config {
    int64_t reduction = 4, kernel = 7, width = 0;
    void visit(ConfigVisitor& v) {
      v.field("reduction", reduction, "the inner width is dim/reduction");
      v.field("kernel", kernel, "places that a gate sees, of rows and of columns; odd");
      v.field("width", width, "columns of the grid; 0: a sequence");
    }
  };
  ConvolutionalBlockAttention(AttentionConfig const& given, Config const& own)
      : Attention(given), squeeze(config.dim, own.reduction), places(2, 1, own.kernel, own.width) {}
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override {
    visitor.child("squeeze", squeeze);
    visitor.child("places", places);
  }

  Squeeze squeeze;
  SpatialMap places;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    Tensor const& lengths = context.lengths;
    Tensor const there = lengths.defined() ? where(valid_positions(lengths, x.size(1)).unsqueeze(2), x, -INFINITY) : x;
    Tensor const y = x * sigmoid(squeeze(position_mean(x, lengths)) + squeeze(amax(there, {1}, true)));
    return y * sigmoid(places(cat({mean(y, {2}, true), amax(y, {2}, true)}, 2)));
  }
};

}  // namespace heed::nn
