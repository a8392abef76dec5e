// Token mixing.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/mlp.h>

namespace heed::nn {

/// W₂·gelu(W₁·x_c) along time, the same MLP block → hidden → block for every feature c (Tolstikhin et al., "MLP-Mixer",
/// 2021): T·hidden·dim. For images cut into a fixed number of patches, and to ask whether attention is needed there. It
/// knows positions by their numbers only: no other length than those seen in training, no future hidden.
class TokenMixing final : public Attention {
 public:
  struct Config {
    int64_t hidden = 64;
    void visit(ConfigVisitor& v) { v.field("hidden", hidden, "width between the two layers"); }
  };
  TokenMixing(AttentionConfig const& given, Config const& own)
      : Attention(given), mlp({.dim = config.block, .hidden = own.hidden, .bias = config.bias}) {
    expect_at_least(1, "mixer", "block (the longest sequence)", config.block);
    expect_at_least(1, "mixer", "hidden width", own.hidden);
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override { visitor.child("mlp", mlp); }

  MLP mlp;

 private:
  Tensor mix(Tensor const& x, AttentionContext const&) const override {
    expect_fits("mixer", x.size(1), config.block);
    Tensor const histories = pad(x.transpose(1, 2), {0, config.block - x.size(1)});
    return mlp(histories).transpose(1, 2).slice(1, 0, x.size(1));
  }
};

}  // namespace heed::nn
