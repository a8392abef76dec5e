// Values of the first layer in every layer.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// v_l ← λ₁·v_l + λ₂·v_1, v_1 the values of the stack's first layer: what a token said at the bottom stays readable at
/// the top, which counters attention concentration (Zhou et al., "Value residual learning", ResFormer, 2024). λ are
/// learned from ½ each. Needs a stack that hands first values along (AttentionContext::first_values), so no
/// checkpointing of its blocks.
class ValueResidual final : public Part {
 public:
  explicit ValueResidual(AttentionConfig const& given) : Part(given) {
    if (given.layer > 0) lambda = full({2}, 0.5).requires_grad_();
  }
  void project(HeadOperands& o) const override {
    if (config.layer == 0) {
      if (o.first_values) *o.first_values = o.v;
      return;
    }
    check(o.first_values && o.first_values->defined(), "value-residual", [] {
      return Complaint{"nobody handed the values of the first layer along",
                       "give the layers of a stack one AttentionContext::first_values, and do not checkpoint them"};
    });
    o.v = o.v * lambda.select(0, 0) + *o.first_values * lambda.select(0, 1);
  }
  void visit(Visitor& visitor) override { visitor.parameter("lambda", lambda); }

  Tensor lambda;
};

}  // namespace heed::nn
