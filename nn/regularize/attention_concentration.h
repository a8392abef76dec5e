// The Herfindahl index of each row, the inverse of the number of keys that it rests on: a smooth penalty of few large
// weights, milder on the tail than entropy. 1 − Σa² is also the trace of the softmax's derivative, so that it works
// against saturation.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean of Σ_j a_ij² = weight·mean of 1/N_eff; in [1/n, 1]·weight.
class AttentionConcentration : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit AttentionConcentration(Config const& config) : AttentionPenalty("attention-concentration", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const squares = attention_probe(
        call.q, call.k, softmax_lse(name(), call), [](auto p, auto, auto) { return p * p; }, call.options);
    return mean_over_queries(call, squares);
  }
};

}  // namespace heed::nn
