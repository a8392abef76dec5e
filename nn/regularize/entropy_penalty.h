// Sharpens attention: for alignments that should be nearly hard, and to make maps readable; it worsens over-dependence
// by design. Entropy minimisation: Grandvalet and Bengio (2004), of attention maps.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean of H_i/log n_i, H_i = −Σ_j a_ij·log a_ij, over the queries i that see n_i ≥ 2 keys; in [0, 1]·weight.
class EntropyPenalty : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit EntropyPenalty(Config const& config) : AttentionPenalty("entropy-penalty", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const n = keys_seen(call), some = n >= 2.0;
    Tensor const entropy = attention_entropy(call.q, call.k, softmax_lse(name(), call), call.options);
    return mean_where(some, where(some, entropy / log(where(some, n, 2.0)), 0.0));
  }
};

}  // namespace heed::nn
