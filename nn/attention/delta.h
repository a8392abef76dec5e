// The delta rule.
#pragma once

#include <heed/nn/attention/scan_attention.h>

namespace heed::nn {

/// S_t = (1 − β_t·k_t·k_tᵀ)·S_{t−1} + β_t·k_t·v_tᵀ, |q| = |k| = 1, β = σ(x·W_β): what the state holds under a key is
/// replaced, not added to, so that it can be corrected (Schlag et al., "Fast weight programmers", 2021; chunks by WY:
/// Yang et al., "DeltaNet", 2024). Recalls D associations a head exactly where keys are orthogonal; nothing fades, so
/// that long contexts want gated-delta.
class DeltaRule final : public ScanAttention {
 public:
  struct Config {
    ScanSettings around = {.conv = 4, .norm = true};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  DeltaRule(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around), beta(config.dim, widths.key_heads, false) {}
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.child("beta", beta);
  }

  Linear beta;

 private:
  void features(ScanOperands& o) const override {
    o.q = unit(o.q);
    o.k = unit(o.k);
    o.beta = sigmoid(by_head(beta(o.x)));
  }
};

}  // namespace heed::nn
