// Attention through latents.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/init.h>

namespace heed::nn {

/// latents look at x, then x looks at what they found: 2·T·latents·dim (Lee et al., "Set Transformer", the induced set
/// attention block, 2019; Jaegle et al., "Perceiver", 2021, which stays with the latents). A sequence is summed up in
/// `latents` vectors by content, whatever its length. For sets and very long inputs; it cannot hide the future.
class InducedSet final : public Attention {
 public:
  struct Config {
    int64_t latents = 32;
    void visit(ConfigVisitor& v) { v.field("latents", latents, "learned queries that sum x up"); }
  };
  InducedSet(AttentionConfig const& given, Config const& own) : Attention(given), gather(config), spread(config) {
    expect_at_least(1, "isab", "count of latents", own.latents);
    latents = empty({1, own.latents, config.dim});
    init::normal_(latents, 1);
    latents.requires_grad_();
  }
  Traits traits() const override { return {.causal = false, .steps = false, .time = Growth::linear}; }
  void visit(Visitor& visitor) override {
    visitor.parameter("latents", latents);
    visitor.child("gather", gather);
    visitor.child("spread", spread);
  }

  Tensor latents;
  MultiHeadAttention gather, spread;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    bool const cross = context.memory.defined();
    Tensor const found = gather(
        latents.expand({x.size(0), latents.size(1), config.dim}),
        {.memory = cross ? context.memory : x, .memory_lengths = cross ? context.memory_lengths : context.lengths});
    return spread(x, {.memory = found});
  }
};

}  // namespace heed::nn
