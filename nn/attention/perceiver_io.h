// Latents that think.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/init.h>

namespace heed::nn {

/// latents look at x, then `depth` times at each other (z ← z + attention(z), the same weights), then x looks at them:
/// (2·T·latents + depth·latents²)·dim (Jaegle et al., "Perceiver IO", 2021). The work is done where it does not grow
/// with the length: for inputs of many thousand positions that few facts sum up. depth = 0 is "isab". It cannot hide
/// the future, nor point at single positions.
class PerceiverIo final : public Attention {
 public:
  struct Config {
    int64_t latents = 32, depth = 2;
    void visit(ConfigVisitor& v) {
      v.field("latents", latents, "learned queries that sum x up");
      v.field("depth", depth, "times that they look at each other");
    }
  };
  PerceiverIo(AttentionConfig const& given, Config const& own)
      : Attention(given), gather(config), think(config), spread(config), depth_(own.depth) {
    expect_at_least(1, "perceiver-io", "count of latents", own.latents);
    expect_at_least(0, "perceiver-io", "depth", own.depth);
    latents = empty({1, own.latents, config.dim});
    init::normal_(latents, 1);
    latents.requires_grad_();
  }
  Traits traits() const override { return {.causal = false, .steps = false, .time = Growth::linear}; }
  void visit(Visitor& visitor) override {
    visitor.parameter("latents", latents);
    visitor.child("gather", gather);
    visitor.child("think", think);
    visitor.child("spread", spread);
  }

  Tensor latents;
  MultiHeadAttention gather, think, spread;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    bool const cross = context.memory.defined();
    Tensor z = gather(
        latents.expand({x.size(0), latents.size(1), config.dim}),
        {.memory = cross ? context.memory : x, .memory_lengths = cross ? context.memory_lengths : context.lengths});
    for (int64_t i = 0; i < depth_; ++i) z = z + think(z);
    return spread(x, {.memory = z});
  }
  int64_t depth_;
};

}  // namespace heed::nn
