// The gated delta rule.
#pragma once

#include <heed/nn/attention/scan_attention.h>
#include <heed/nn/attention/time_step.h>

namespace heed::nn {

/// S_t = (1 − β_t·k_t·k_tᵀ)·α_t·S_{t−1} + β_t·k_t·v_tᵀ, α = exp(−A·softplus(x·W_α + b)) a head (Yang et al., "Gated
/// DeltaNet", 2025): the delta rule replaces one association, the gate forgets all. The strongest of its size at recall
/// among linear kinds; where state tracking needs negative eigenvalues, see deltaproduct.
class GatedDelta final : public ScanAttention {
 public:
  struct Config {
    ScanSettings around = {.conv = 4, .norm = true, .gate = true};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  GatedDelta(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around),
        beta(config.dim, widths.key_heads, false),
        step(config.dim, widths.key_heads) {}
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.child("beta", beta);
    visitor.child("step", step);
  }

  Linear beta;
  TimeStep step;

 private:
  void features(ScanOperands& o) const override {
    o.q = unit(o.q);
    o.k = unit(o.k);
    o.beta = sigmoid(by_head(beta(o.x)));
    o.scan.decay = step.decay(step.delta(o.x));
  }
};

}  // namespace heed::nn
