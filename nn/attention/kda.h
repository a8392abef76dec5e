// Kimi delta attention.
#pragma once

#include <heed/nn/attention/scan_attention.h>

namespace heed::nn {

/// A delta rule whose states decay by features of k: α = exp(−A·softplus(x·W_1·W_2 + b)).
class FeatureDecayDelta : public ScanAttention {
 public:
  struct Config {
    int64_t rank = 16;
    ScanSettings around = {.conv = 4, .norm = true, .gate = true};
    void visit(ConfigVisitor& v) {
      v.field("rank", rank, "width between the two matrices of the decay");
      around.visit(v);
    }
  };
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.child("rate_in", rate_in);
    visitor.child("rate", rate);
    visitor.parameter("rate_bias", rate_bias);
    visitor.parameter("log_a", log_a);
  }

  Linear rate_in, rate;
  Tensor rate_bias, log_a;

 protected:
  FeatureDecayDelta(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around),
        rate_in(config.dim, own.rank, false),
        rate(own.rank, widths.key_heads * widths.key, false),
        rate_bias(trainable(time_step_bias(widths.key_heads * widths.key))),
        log_a(trainable(log(uniform({widths.key_heads, 1, 1}, 1, 16)))) {}
  void decay(ScanOperands& o) const {
    o.q = unit(o.q);
    o.k = unit(o.k);
    Tensor const step = softplus(wide(rate(rate_in(o.x))) + wide(rate_bias));
    o.scan.decay = -exp(wide(log_a)) * split_heads(step, widths.key_heads);
  }
};

/// S_t = (1 − β_t·k_t·k_tᵀ)·Diag(α_t)·S_{t−1} + β_t·k_t·v_tᵀ (Kimi Team, "Kimi Linear", 2025): gated-delta with a decay
/// of each feature in place of one a head. In the paper three such layers stand before one of softmax.
class KimiDelta final : public FeatureDecayDelta {
 public:
  KimiDelta(AttentionConfig const& given, Config const& own)
      : FeatureDecayDelta(given, own), beta(config.dim, widths.key_heads, false) {}
  void visit(Visitor& visitor) override {
    FeatureDecayDelta::visit(visitor);
    visitor.child("beta", beta);
  }

  Linear beta;

 private:
  void features(ScanOperands& o) const override {
    decay(o);
    o.beta = sigmoid(by_head(beta(o.x)));
  }
};

}  // namespace heed::nn
