// Against attention sinks: keys, the first one mostly, that take a share of every query's weight without telling
// anything (Xiao et al., 2023; Gu et al., 2024). Sinks also serve to switch a head off: beside this give it a sink
// logit or a gate to do so.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over heads of Σ_j max(0, α_j − limit)², α_j = (Σ_i a_ij)/(queries that see j): what a key gets on
/// average, over the keys that a quarter of the queries or more see.
class SinkPenalty : public AttentionPenalty {
 public:
  struct Config {
    double weight = 0.1, limit = 0.3;
    void visit(ConfigVisitor& v) {
      v.field("weight", weight, "factor of the penalty in the loss");
      v.field("limit", limit, "a mean share up to this is free, 0 to 1 (Gu et al. call 0.3 a sink)");
    }
  };
  explicit SinkPenalty(Config const& config) : AttentionPenalty("sink-penalty", config.weight), config_(config) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    Tensor const count = queries_seeing(call);
    Tensor const often = count * 4.0 >= double(call.q.size(2));
    Tensor const received = attention_received(call.q, call.k, softmax_lse(name(), call), call.options);
    Tensor const share = where(often, received / where(often, count, 1.0), 0.0);
    return sum(square(relu(share - config_.limit))) / double(std::max(call.q.size(0) * call.q.size(1), int64_t{1}));
  }

 private:
  Config config_;
};

}  // namespace heed::nn
