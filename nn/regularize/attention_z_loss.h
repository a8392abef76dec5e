// Keeps the logits of attention from drifting upwards: z-loss (Chowdhery et al., PaLM, 2022) of the rows of attention.
// Against overflow and loss spikes in 16 bits; it does not spread the weights by itself.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean of lse_i², lse_i = log Σ_j exp(s_ij); 0 where exp(s) sums to 1.
class AttentionZLoss : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit AttentionZLoss(Config const& config) : AttentionPenalty("attention-z-loss", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const& lse = softmax_lse(name(), call);
    Tensor const seen = lse > -std::numeric_limits<double>::infinity();
    return mean_where(seen, square(where(seen, lse, 0.0)));
  }
};

}  // namespace heed::nn
