// Recurrences with simple decays: HGRN2 and lightning attention.
#pragma once

#include <heed/nn/attention/scan_attention.h>

#include <cmath>

namespace heed::nn {

/// S_t = Diag(f_t)·S_{t−1} + (1 − f_t)·v_tᵀ, f = γ + (1 − γ)·σ(x·W_k), γ = layer/layers: the forget gate is the key,
/// and deeper layers forget less (Qin et al., "HGRN2", 2024; its γ are learned).
class Hgrn2 final : public ScanAttention {
 public:
  struct Config {
    ScanSettings around = {.norm = true};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  Hgrn2(AttentionConfig const& given, Config const& own) : ScanAttention(given, own.around) {}

 private:
  void features(ScanOperands& o) const override {
    double const least = double(config.layer) / double(config.layers);
    Tensor const open = sigmoid(-o.k) * (1 - least);  // 1 − f
    o.q = silu(o.q);
    o.scan.decay = log1p(-open);
    o.k = open;
  }
};

/// S_t = λ_h·S_{t−1} + k_t·v_tᵀ with SiLU of q and k, λ_h = exp(−2^(−8(h+1)/H)·(1 − layer/layers)): fixed decays as
/// ALiBi's slopes (Qin et al., "TransNormerLLM" and "Lightning attention-2", 2023–24).
class Lightning final : public ScanAttention {
 public:
  struct Config {
    ScanSettings around = {.norm = true, .gate = true};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  Lightning(AttentionConfig const& given, Config const& own) : ScanAttention(given, own.around) {}

 private:
  void features(ScanOperands& o) const override {
    double const depth = 1 - double(config.layer) / double(config.layers);
    Tensor const slope = exp2((arange(1, config.heads + 1).to(Dtype::f64) * (-8. / double(config.heads)))) * -depth;
    o.q = silu(o.q);
    o.k = silu(o.k);
    o.scan.scale = 1 / std::sqrt(double(widths.key));
    o.scan.decay = slope.view({1, config.heads, 1})
                       .to(o.q.dtype())
                       .to(o.q.device())
                       .expand({o.q.size(0), config.heads, o.q.size(2)});
  }
};

}  // namespace heed::nn
