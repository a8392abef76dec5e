// Dropout of attention's weights (Vaswani et al., 2017; Srivastava et al., 2014): no query can rely on one key. On
// every layer, also those whose configuration has none.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// a_ij·keep_ij/(1 − p) meets v_j, keep ~ Bernoulli(1 − p): rows sum to 1 in the mean. A layer's own dropout stays:
/// both together keep (1 − p)(1 − p_layer).
class AttentionDropout : public AttentionRegularizer {
 public:
  struct Config {
    double p = 0.1;
    void visit(ConfigVisitor& v) { v.field("p", p, "share of the weights that is dropped, 0 to below 1"); }
  };
  explicit AttentionDropout(Config const& config) : p_(checked_share("attention-dropout", config.p)) {}

 protected:
  void before(AttentionCall& call) override {
    if (p_ == 0) return;
    if (call.options.dropout == 0) call.options.draw = default_generator().next();
    call.options.dropout = 1 - (1 - p_) * (1 - call.options.dropout);
  }

 private:
  double p_;
};

}  // namespace heed::nn
