// Gather and excite.
#pragma once

#include <heed/nn/attention/channel.h>
#include <heed/nn/attention/segments.h>

namespace heed::nn {

/// x_t ⊙ σ(mean of x over t's run of `extent` positions), or over all of them: a gate of channels without a parameter
/// (Hu et al., "Gather-excite", the pair without parameters, 2018): T·dim. What is strong around a place is kept there.
/// "se" learns what to do with the mean.
class GatherExcite final : public Attention {
 public:
  struct Config {
    int64_t extent = 0;
    void visit(ConfigVisitor& v) { v.field("extent", extent, "positions of a run; 0: the whole sequence"); }
  };
  GatherExcite(AttentionConfig const& given, Config const& own) : Attention(given), extent_(own.extent) {
    expect_at_least(0, "gather-excite", "extent", extent_);
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = extent_ == 0, .time = Growth::linear};
  }
  void visit(Visitor&) override {}

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    if (extent_ == 0) return x * sigmoid(position_mean(x, context.lengths));
    Tensor const means = run_means(x.unsqueeze(1), extent_, context.lengths).means.squeeze(1);
    return x * sigmoid(repeat_interleave(means, extent_, 1).slice(1, 0, x.size(1)));
  }
  int64_t extent_;
};

}  // namespace heed::nn
