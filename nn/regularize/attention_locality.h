// Prefers near keys without a window: the mean distance of attention (Raghu et al., 2021, measure it) as a penalty. A
// negative weight prefers far ones, against heads that never leave their neighbourhood.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over queries of Σ_j a_ij·|i − j|/S; in [0, 1]·weight.
class AttentionLocality : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit AttentionLocality(Config const& config) : AttentionPenalty("attention-locality", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const distance = attention_distance(call.q, call.k, softmax_lse(name(), call), call.options);
    return mean_over_queries(call, distance) / double(std::max(call.k.size(2), int64_t{1}));
  }
};

}  // namespace heed::nn
