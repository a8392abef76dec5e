// The gated delta rule with gates of erasing and writing apart.
#pragma once

#include <heed/nn/attention/kda.h>

namespace heed::nn {

/// S_t = (1 − k_t·(b_t∘k_t)ᵀ)·Diag(α_t)·S_{t−1} + k_t·(w_t∘v_t)ᵀ, b = σ(x·W_b) a gate of each feature of k, w =
/// σ(x·W_w) one of each of v (Hatamizadeh, Choi and Kautz, "Gated DeltaNet-2", 2026): what is erased and what is
/// written are chosen apart, channel by channel, where kda has one β for both. Time T·dim·D, state dim·D as kda's, and
/// two more matrices of dim². For recall over long sequences; where a key must replace its value exactly, kda's one β
/// does so.
class GatedDelta2 final : public FeatureDecayDelta {
 public:
  GatedDelta2(AttentionConfig const& given, Config const& own)
      : FeatureDecayDelta(given, own),
        erase(config.dim, widths.key_heads * widths.key, false),
        write(config.dim, widths.value_heads * widths.value, false) {}
  void visit(Visitor& visitor) override {
    FeatureDecayDelta::visit(visitor);
    visitor.child("erase", erase);
    visitor.child("write", write);
  }

  Linear erase, write;

 private:
  void features(ScanOperands& o) const override {
    decay(o);
    o.beta = sigmoid(wide(split_heads(erase(o.x), widths.key_heads)));
    o.v = sigmoid(wide(split_heads(write(o.x), widths.value_heads))) * o.v;
  }
};

}  // namespace heed::nn
