// Elastic net (Zou and Hastie, 2005): L1's selection, and L2's even hand among weights that do the same.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// weight·Σ (share·|w| + ½·(1 − share)·w²)
class ElasticNet : public WeightPenalty {
 public:
  struct Config {
    double weight = 1e-4, share = 0.5;
    std::string pattern = "**";
    void visit(ConfigVisitor& v) {
      v.field("weight", weight, "factor of the penalty in the loss");
      v.field("share", share, "of the absolute values, 0 to 1; 0 is l2, 1 is l1");
      v.field("pattern", pattern, "names of the matrices, ** for any");
    }
  };
  explicit ElasticNet(Config const& config)
      : WeightPenalty("elastic-net", config.weight, config.pattern),
        share_(checked_amount("elastic-net", "share", config.share)) {}

 protected:
  Tensor measure(std::string const&, Tensor const& w) override {
    return sum(abs(w)) * share_ + sum(square(w)) * (0.5 * (1 - share_));
  }

 private:
  double share_;
};

}  // namespace heed::nn
