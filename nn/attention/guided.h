// Guided attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>

namespace heed::nn {

/// x first looks at itself, then what it became looks at the memory: guide(x + self(x), memory) (Yu et al., "Deep
/// modular co-attention networks", MCAN, 2019: its SGA unit; a decoder's two layers in one): (T² + T·S)·dim. For
/// regions of an image that a question guides. Without a memory the second look is at x too.
class GuidedLayers final : public Attention {
 public:
  explicit GuidedLayers(AttentionConfig const& given) : Attention(given), self(config), guide(config) {}
  Traits traits() const override { return {.causal = false, .steps = false}; }
  void visit(Visitor& visitor) override {
    visitor.child("self", self);
    visitor.child("guide", guide);
  }

  MultiHeadAttention self, guide;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    return guide(x + self(x, {.lengths = context.lengths}), context);
  }
};

}  // namespace heed::nn
