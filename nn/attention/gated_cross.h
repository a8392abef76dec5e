// Gated cross-attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>
#include <vector>

namespace heed::nn {

/// tanh(α)·attention, α = 0 at the start: a memory is let in bit by bit, and a trained model is unchanged on the first
/// step (Alayrac et al., "Flamingo", 2022). For grafting a second modality onto a model that works.
class GatedCrossAttention final : public Part {
 public:
  explicit GatedCrossAttention(AttentionConfig const& given) : Part(given), alpha(zeros({1})) {
    alpha.requires_grad_();
  }
  Tensor finish(Tensor const& out, HeadOperands const&) const override { return out * tanh(alpha); }
  void visit(Visitor& visitor) override { visitor.parameter("alpha", alpha); }
  Traits traits() const override { return {.causal = false, .steps = false}; }

  Tensor alpha;
};

}  // namespace heed::nn
