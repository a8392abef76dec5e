// Attention that is told where to look: by alignments of people, or by a teacher's maps (Liu et al., 2016; Mi et al.,
// 2016; Zagoruyko and Komodakis, 2017). Only where such maps exist; target() takes them.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over queries with a target of KL(t_i ‖ a_i) = Σ_j t_ij·(log t_ij − log a_ij); 0 where a is the target.
class SupervisedAttention : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit SupervisedAttention(Config const& config) : AttentionPenalty("supervised-attention", config.weight) {}
  /// For the batches to come: rows [B, H, T, S] that sum to 1, or are 0 where nothing is known; sizes of 1 where
  /// shared.
  void target(Tensor const& rows) { target_ = rows; }

 protected:
  Tensor measure(AttentionCall const& call) const override;

 private:
  Tensor target_;
};

}  // namespace heed::nn
