// σReparam (Zhai et al., 2023): every matrix is divided by its largest singular value and multiplied by a learnt gain,
// so that logits of attention grow only as fast as gains do. Against entropy collapse; trains transformers without
// warm-up or norms.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// Layers compute with γ·W/σ_max(W), γ a scalar for each matrix; σ by power iterations, one step of the loop two of
/// them.
class SigmaReparam : public Reparametrization {
 public:
  using Config = ReparametrizationConfig;
  explicit SigmaReparam(Config const& config)
      : Reparametrization(config.pattern, checked_amount("sigma-reparam", "learning_rate", config.learning_rate)),
        gain_(checked_amount("sigma-reparam", "gain", config.gain)) {}

 protected:
  Tensor first_gain(Tensor const& w) const override {
    Tensor u = first_direction(w);
    return gain_ > 0 ? full({}, gain_, w.dtype(), w.device()) : largest_singular_value(w, u, 100).clone();
  }
  Tensor scaled(Entry const& entry, Tensor const& w) const override {
    Tensor u = entry.u;
    return w * (entry.gain / largest_singular_value(w, u, 1));
  }

 private:
  double gain_;
};

}  // namespace heed::nn
