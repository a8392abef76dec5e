// Spatial gating.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/channel.h>
#include <heed/nn/init.h>
#include <heed/nn/linear.h>
#include <heed/nn/norm.h>

#include <cmath>

namespace heed::nn {

/// V·(z₁ ⊙ (W·norm(z₂) + b)), [z₁, z₂] = gelu(U·x): one learned map W [block, block] over positions, the same for all
/// features and whatever stands there (Liu et al., "Pay attention to MLPs", gMLP, 2021). W starts near 0 and b at 1: an
/// MLP at first. Time T²·hidden, parameters block². Causal layers keep the lower half of W. For sequences of one
/// length, as patches of images; content cannot address content.
class SpatialGating final : public Attention {
 public:
  struct Config {
    int64_t hidden = 0;
    void visit(ConfigVisitor& v) { v.field("hidden", hidden, "width of z₁ and z₂, features; 0: dim"); }
  };
  SpatialGating(AttentionConfig const& given, Config const& own)
      : Attention(given),
        in_proj(config.dim, 2 * (own.hidden ? own.hidden : config.dim), config.bias),
        out_proj(own.hidden ? own.hidden : config.dim, config.dim, config.bias),
        norm(own.hidden ? own.hidden : config.dim) {
    expect_at_least(1, "gmlp", "block (the longest sequence)", config.block);
    weight = empty({config.block, config.block});
    init::normal_(weight, 0.01 / std::sqrt(double(config.block)));
    bias = ones({config.block, 1});
    weight.requires_grad_(), bias.requires_grad_();
  }
  Traits traits() const override {
    return {.cross = false, .steps = false, .equivariant = false, .memory = Growth::quadratic};
  }
  void visit(Visitor& visitor) override {
    visitor.child("in_proj", in_proj);
    visitor.child("out_proj", out_proj);
    visitor.child("norm", norm);
    visitor.parameter("weight", weight);
    visitor.parameter("bias", bias);
  }

  Linear in_proj, out_proj;
  LayerNorm norm;
  Tensor weight, bias;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const t = x.size(1), hidden = out_proj.weight.size(1);
    expect_fits("gmlp", t, config.block);
    Tensor const z = gelu(in_proj(x)), w = weight.slice(0, 0, t).slice(1, 0, t);
    Tensor const other = only_there(norm(z.slice(2, hidden, 2 * hidden)), context.lengths);
    Tensor const gate = matmul(config.causal ? tril(w) : w, other) + bias.slice(0, 0, t);
    return out_proj(z.slice(2, 0, hidden) * gate);
  }
};

}  // namespace heed::nn
