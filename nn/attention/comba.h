// The delta rule as a closed loop.
#pragma once

#include <heed/nn/attention/scan_attention.h>
#include <heed/nn/attention/time_step.h>

namespace heed::nn {

/// S_t = α_t·S_{t−1} − β_t·k_t·(p_tᵀS_{t−1}) + β_t·k_t·v_tᵀ, o_t = S_tᵀ(q_t − D·k_t), p = σ(b)·k: a scalar and a
/// rank-one term, the error fed back by its own gain before the state decays, and the output corrected by what the key
/// itself would read (Hu et al., "Comba: improving bilinear RNNs with closed-loop control", 2025). b and D are numbers
/// of each head; with p = α·k and D = 0 it is gated-delta. Time T·dim·D, state dim·D. For recall where gated-delta
/// serves; `correction` near 1 takes from q what k has just written, small models did better with 0.02.
class Comba final : public ScanAttention {
 public:
  struct Config {
    double correction = 0.02;
    ScanSettings around = {.conv = 4, .norm = true, .gate = true};
    void visit(ConfigVisitor& v) {
      v.field("correction", correction, "D at the start");
      around.visit(v);
    }
  };
  Comba(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around),
        beta(config.dim, widths.key_heads, false),
        step(config.dim, widths.key_heads),
        feedback(trainable(ones({widths.key_heads, 1, 1}))),
        correction(trainable(full({widths.key_heads, 1, 1}, own.correction))) {}
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.child("beta", beta);
    visitor.child("step", step);
    visitor.parameter("feedback", feedback);
    visitor.parameter("correction", correction);
  }

  Linear beta;
  TimeStep step;
  Tensor feedback, correction;  // [G, 1, 1]: b and D

 private:
  void features(ScanOperands& o) const override {
    int64_t const shared = config.heads / widths.key_heads;
    o.k = unit(o.k);
    Tensor const own = o.k * wide(correction);
    o.q = unit(o.q) - (shared == 1 ? own : repeat_interleave(own, shared, 1));
    o.beta = sigmoid(by_head(beta(o.x)));
    o.feedback = sigmoid(wide(feedback));
    o.scan.decay = step.decay(step.delta(o.x));
  }
};

}  // namespace heed::nn
