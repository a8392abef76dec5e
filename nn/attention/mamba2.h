// State space duality.
#pragma once

#include <heed/nn/attention/scan_attention.h>
#include <heed/nn/attention/time_step.h>

namespace heed::nn {

/// S_t = exp(−A_h·Δ_t)·S_{t−1} + Δ_t·B_t·x_tᵀ, y_t = S_tᵀC_t + D_h·x_t, Δ = softplus(u·W_Δ + b), then norm(y ⊙
/// SiLU(z)): all heads share B and C, as keys and queries are called here (Dao and Gu, "Transformers are SSMs", 2024).
/// y is (L ∘ CBᵀ)·x with L of the decays' products. Large states at little cost; a scalar decay a head forgets all or
/// nothing.
class Mamba2 final : public ScanAttention {
 public:
  struct Config {
    int64_t state = 64;
    int64_t expand = 2;
    int64_t conv = 4;
    void visit(ConfigVisitor& v) {
      v.field("state", state, "rows of a head's state: the width of B and C");
      v.field("expand", expand, "width of x, in dim");
      v.field("conv", conv, "steps of the short convolution of x, B and C; 0: none");
    }
  };
  Mamba2(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, {.conv = own.conv},
                      {.query_heads = 1,
                       .key_heads = 1,
                       .value_heads = given.heads,
                       .key = own.state,
                       .value = own.expand * checked(given).head_dim()}),
        z(config.dim, config.heads * widths.value, false),
        step(config.dim, config.heads),
        skip(trainable(ones({config.heads}))),
        weight(trainable(ones({config.heads * widths.value}))) {}
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.child("z", z);
    visitor.child("step", step);
    visitor.parameter("skip", skip);
    visitor.parameter("weight", weight);
  }

  Linear z;
  TimeStep step;
  Tensor skip, weight;  // D [H]; of the norm

 private:
  void features(ScanOperands& o) const override {
    Tensor const delta = step.delta(o.x);
    o.scan.decay = step.decay(delta);
    o.extra = o.v;
    o.weight = delta;
  }
  Tensor finish(Tensor const& out, ScanOperands const& o) const override {
    Tensor const y = out + wide(skip).view({config.heads, 1, 1}) * o.extra;
    return split_heads(rms_norm(join_heads(y).to(o.x.dtype()) * silu(z(o.x)), weight), config.heads);
  }
};

}  // namespace heed::nn
