// Attention over variates.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>

namespace heed::nn {

/// The history of each feature is one token, W·[x_1c, …, x_Tc] [dim]; features attend to each other, and each token
/// comes back as a history: dense attention on transposed x (Liu et al., "iTransformer", 2024). Time T·dim² +
/// dim²·dim, whatever the length up to `block`. For series whose variates depend on each other more than moments do.
/// The future stands in every token; the order of positions is in W alone.
class VariateAttention final : public Attention {
 public:
  explicit VariateAttention(AttentionConfig const& given)
      : Attention(given),
        join(config.block, config.dim, config.bias),
        split(config.dim, config.block, config.bias),
        among(config) {
    expect_at_least(1, "variates", "block (the longest sequence)", config.block);
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override {
    visitor.child("join", join);
    visitor.child("split", split);
    visitor.child("among", among);
  }

  Linear join, split;
  MultiHeadAttention among;

 private:
  Tensor mix(Tensor const& x, AttentionContext const&) const override {
    int64_t const t = x.size(1);
    expect_fits("variates", t, config.block);
    return split(among(join(pad(x.transpose(1, 2), {0, config.block - t})))).transpose(1, 2).slice(1, 0, t);
  }
};

}  // namespace heed::nn
