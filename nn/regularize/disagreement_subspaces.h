// Heads should read different features: disagreement on subspaces (Li et al., 2018). With grouped keys the G value
// heads disagree; one value head cannot.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over positions of 1/G²·Σ_{g,h} cos(v_g, v_h) = weight·mean of |mean_g v_g/|v_g||²: −D_sub of the paper.
/// In [0, 1]·weight.
class DisagreementSubspaces : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit DisagreementSubspaces(Config const& config) : AttentionPenalty("disagreement-subspaces", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override { return head_agreement(call.v); }
};

}  // namespace heed::nn
