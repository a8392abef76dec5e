// Global context.
#pragma once

#include <heed/nn/attention/pooling.h>
#include <heed/nn/norm.h>

#include <algorithm>

namespace heed::nn {

/// x + W₂·relu(norm(W₁·Σ_t a_t·x_t)), a = softmax_T(w·x): one weighted mean, the same for all queries, added everywhere
/// (Cao et al., "GCNet", 2019, which found the maps of non-local blocks to be alike for every query): T·dim. For
/// images, where the scene tells about every place. Where positions need different things, attention.
class GlobalContext final : public Attention {
 public:
  struct Config {
    int64_t reduction = 4;
    void visit(ConfigVisitor& v) { v.field("reduction", reduction, "the inner width is dim/reduction"); }
  };
  GlobalContext(AttentionConfig const& given, Config const& own)
      : Attention(given),
        score(config.dim, 1, false),
        fc1(config.dim, std::max(config.dim / std::max(own.reduction, int64_t{1}), int64_t{1})),
        fc2(fc1.weight.size(0), config.dim),
        norm(fc1.weight.size(0)) {}
  Traits traits() const override { return {.causal = false, .cross = false, .steps = false, .time = Growth::linear}; }
  void visit(Visitor& visitor) override {
    visitor.child("score", score);
    visitor.child("fc1", fc1);
    visitor.child("norm", norm);
    visitor.child("fc2", fc2);
  }

  Linear score, fc1, fc2;
  LayerNorm norm;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    Tensor const mean = matmul(pooling_weights(score(x), context.lengths), x);
    return x + fc2(relu(norm(fc1(mean))));
  }
};

}  // namespace heed::nn
