// Gated linear attention.
#pragma once

#include <heed/nn/attention/scan_attention.h>

#include <cmath>

namespace heed::nn {

/// S_t = Diag(α_t)·S_{t−1} + k_t·v_tᵀ, α_t = σ(x_t·W_1·W_2 + b)^(1/16) for each feature of k; the output is normalised
/// by head and gated (Yang et al., "Gated linear attention", 2023). What it keeps and for how long depends on the data:
/// the cure of retention's fixed reach.
class GatedLinearAttention final : public ScanAttention {
 public:
  struct Config {
    int64_t rank = 16;
    ScanSettings around = {.norm = true, .gate = true};
    void visit(ConfigVisitor& v) {
      v.field("rank", rank, "width between the two matrices of the decay");
      around.visit(v);
    }
  };
  GatedLinearAttention(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around),
        decay_in(config.dim, own.rank, false),
        decay(own.rank, widths.key_heads * widths.key) {}
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.child("decay_in", decay_in);
    visitor.child("decay", decay);
  }

  Linear decay_in, decay;

 private:
  void features(ScanOperands& o) const override {
    o.scan.scale = 1 / std::sqrt(double(widths.key));
    o.scan.decay = log_sigmoid(wide(split_heads(decay(decay_in(o.x)), widths.key_heads))) * (1. / 16);
  }
};

}  // namespace heed::nn
