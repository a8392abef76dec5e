// Group lasso (Yuan and Lin, 2006; of neurons: Wen et al., 2016): whole rows, the neurons of a layer, go to 0 together.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

#include <cmath>

namespace heed::nn {

/// weight·Σ over matrices and rows of √I·|w_row|, rows of I inputs.
class GroupLasso : public WeightPenalty {
 public:
  using Config = WeightPenaltyConfig;
  explicit GroupLasso(Config const& config) : WeightPenalty("group-lasso", config.weight, config.pattern) {}

 protected:
  Tensor measure(std::string const&, Tensor const& w) override {
    Tensor const m = as_matrix(w);
    return sum(vector_norm(m, 2, {1})) * std::sqrt(double(m.size(1)));
  }
};

}  // namespace heed::nn
