// Neighbouring keys should get similar weights: total variation of rows, the penalty behind fusedmax (Niculae and
// Blondel, 2017). For signals and images, where neighbours mean the same; not for words.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over queries of Σ_j |a_i,j+1 − a_ij|; in [0, 2]·weight. Any normaliser of rows.
class AttentionVariation : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit AttentionVariation(Config const& config) : AttentionPenalty("attention-variation", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    if (call.k.size(2) < 2) return zeros({}, call.q.dtype(), call.q.device());
    Tensor const total = sum_over_rows(call, [s = call.k.size(2)](Tensor const& rows) {
      return sum(abs(rows.slice(3, 1, s) - rows.slice(3, 0, s - 1)));
    });
    return total / double(std::max(call.q.size(0) * call.q.size(1) * call.q.size(2), int64_t{1}));
  }
};

}  // namespace heed::nn
