// Rewards attention that spreads out: after the confidence penalty of Pereyra et al. (2017), of attention maps. Against
// heads that lock on one key early; not where a head must point at one place.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean of −H_i/log n_i, H_i = −Σ_j a_ij·log a_ij, over the queries i that see n_i ≥ 2 keys. In [−1, 0]·weight;
/// its gradient is 0 where a is uniform.
class EntropyBonus : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit EntropyBonus(Config const& config) : AttentionPenalty("entropy-bonus", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const n = keys_seen(call), some = n >= 2.0;
    Tensor const entropy = attention_entropy(call.q, call.k, softmax_lse(name(), call), call.options);
    return -mean_where(some, where(some, entropy / log(where(some, n, 2.0)), 0.0));
  }
};

}  // namespace heed::nn
