// Every key should be looked at equally often: doubly stochastic attention (Xu et al., Show, attend and tell, 2015).
// For captions and translation, where every part must be told; under a causal mask early keys cannot but get more.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over keys of (1 − (S/T)·Σ_i a_ij)², 0 where every key gets the same; T = S gives the paper's (1 − Σ_i
/// a_ij)².
class DoublyStochastic : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit DoublyStochastic(Config const& config) : AttentionPenalty("doubly-stochastic", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const received = attention_received(call.q, call.k, softmax_lse(name(), call), call.options);
    return mean(square(1.0 - received * (double(call.k.size(2)) / double(std::max(call.q.size(2), int64_t{1})))));
  }
};

}  // namespace heed::nn
