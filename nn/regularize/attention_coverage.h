// Do not look again at what was looked at: the coverage loss of pointer-generator networks (See, Liu and Manning,
// 2017), against repetition in summaries and translations. Queries are taken in their order.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over queries of Σ_j min(a_ij, c_ij), c_ij = Σ_{i' < i} a_i'j; in [0, 1]·weight.
class AttentionCoverage : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit AttentionCoverage(Config const& config) : AttentionPenalty("attention-coverage", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    return attention_coverage(call) / double(std::max(call.q.size(0) * call.q.size(1) * call.q.size(2), int64_t{1}));
  }
};

}  // namespace heed::nn
