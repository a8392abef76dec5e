// Holds entropy above a floor and leaves it alone there: against entropy collapse (Zhai et al., 2023), which comes with
// loss spikes. Gentler than a bonus, since heads that spread enough feel nothing.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean of max(0, floor·log n_i − H_i)² over the queries i that see n_i ≥ 2 keys; nats².
class EntropyFloor : public AttentionPenalty {
 public:
  struct Config {
    double weight = 0.01, floor = 0.3;
    void visit(ConfigVisitor& v) {
      v.field("weight", weight, "factor of the penalty in the loss");
      v.field("floor", floor, "entropy below this share of a uniform row's is penalised, 0 to 1");
    }
  };
  explicit EntropyFloor(Config const& config) : AttentionPenalty("entropy-floor", config.weight), config_(config) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const n = keys_seen(call);
    Tensor const entropy = attention_entropy(call.q, call.k, softmax_lse(name(), call), call.options);
    return mean_over_queries(call, square(relu(log(maximum(n, ones_like(n))) * config_.floor - entropy)), 2);
  }

 private:
  Config config_;
};

}  // namespace heed::nn
