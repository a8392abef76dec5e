// L1 (Tibshirani, lasso, 1996): weights that do little become small evenly, and with proximal steps 0. Gradient steps
// leave them near 0, not at it.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// weight·Σ |w|
class L1 : public WeightPenalty {
 public:
  using Config = WeightPenaltyConfig;
  explicit L1(Config const& config) : WeightPenalty("l1", config.weight, config.pattern) {}

 protected:
  Tensor measure(std::string const&, Tensor const& w) override { return sum(abs(w)); }
};

}  // namespace heed::nn
