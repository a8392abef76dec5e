// Heads should say different things: disagreement on outputs (Li et al., 2018, who found it the best of the three
// alone).
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over positions of 1/H²·Σ_{g,h} cos(o_g, o_h) = weight·mean of |mean_h o_h/|o_h||²: −D_out of the paper.
/// In [0, 1]·weight. o is what attend() gave, before the output projection.
class DisagreementOutputs : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit DisagreementOutputs(Config const& config) : AttentionPenalty("disagreement-outputs", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override { return head_agreement(call.result.out); }
};

}  // namespace heed::nn
