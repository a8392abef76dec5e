// Heads should look at different places: disagreement on attended positions (Li et al., 2018). Against heads that
// repeat each other; keeps no T×T, but computes the weights twice more.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over queries of 1/H²·Σ_{g,h} Σ_j a_gij·a_hij = weight·mean of Σ_j (mean_h a_hij)²: −D_pos of the paper,
/// a query's part of it. In (0, 1]·weight.
class DisagreementPositions : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit DisagreementPositions(Config const& config) : AttentionPenalty("disagreement-positions", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const total = sum_over_rows(call, [](Tensor const& rows) { return sum(square(mean(rows, {1}))); });
    return total / double(std::max(call.q.size(0) * call.q.size(2), int64_t{1}));
  }
};

}  // namespace heed::nn
