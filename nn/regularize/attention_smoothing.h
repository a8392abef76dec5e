// Label smoothing of attention maps: the divergence from uniform weights (Szegedy et al., 2016, of labels). Unlike an
// entropy bonus its gradient grows as a key's weight falls to 0, so that no key is given up.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over queries of KL(uniform ‖ a_i) = lse_i − log n_i − mean_j s_ij, over the n_i keys that i sees; 0
/// where a is uniform.
class AttentionSmoothing : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit AttentionSmoothing(Config const& config) : AttentionPenalty("attention-smoothing", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const& lse = softmax_lse(name(), call);
    Tensor const n = keys_seen(call), some = n >= 1.0, count = where(some, n, 1.0);
    Tensor const scores = score_sum(
        call.q, call.k, [](auto s, auto) { return s; }, call.options);
    return mean_where(some, where(some, where(some, lse, 0.0) - log(count) - scores / count, 0.0));
  }
};

}  // namespace heed::nn
