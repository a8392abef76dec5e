// Nothing may take more than a share of a query's attention: the bluntest cure of dependence on one key, and the one to
// read most easily. The gradient reaches the largest weight alone.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean of max(0, max_j a_ij − limit)² over the queries that see a key.
class MaxWeight : public AttentionPenalty {
 public:
  struct Config {
    double weight = 0.1, limit = 0.5;
    void visit(ConfigVisitor& v) {
      v.field("weight", weight, "factor of the penalty in the loss");
      v.field("limit", limit, "weights up to this are free, 0 to 1");
    }
  };
  explicit MaxWeight(Config const& config) : AttentionPenalty("max-weight", config.weight), config_(config) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const largest = attention_max(call.q, call.k, softmax_lse(name(), call), call.options);
    return mean_over_queries(call, square(relu(largest - config_.limit)), 2);
  }

 private:
  Config config_;
};

}  // namespace heed::nn
