// Inequality of a row's weights by the Gini index (Gini, 1912; as a measure of sparsity: Hurley and Rickard, 2009).
// Unlike the Herfindahl index it sees the tail. Costs a sort of each row.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over queries of Σ_r (2r − S − 1)·a_(r)/(S·Σ_j a_ij), a_(1) ≤ … ≤ a_(S): 0 for uniform rows, near 1 for
/// one key. Hidden keys count as weights of 0. Any normaliser of rows.
class AttentionGini : public AttentionPenalty {
 public:
  using Config = PenaltyConfig;
  explicit AttentionGini(Config const& config) : AttentionPenalty("attention-gini", config.weight) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const total = sum_over_rows(call, [](Tensor const& rows) {
      double const n = double(rows.size(3));
      Tensor const ranks = (arange(rows.size(3)) * 2.0 + (1 - n)).to(rows.dtype()).to(rows.device()) / n;
      Tensor const mass = sum(rows, {3}), some = mass > 0.0;
      return sum(where(some, sum(sort(rows, 3).values * ranks, {3}) / where(some, mass, 1.0), 0.0));
    });
    return total / double(std::max(call.q.size(0) * call.q.size(1) * call.q.size(2), int64_t{1}));
  }
};

}  // namespace heed::nn
