// From a sequence to a few vectors.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>

namespace heed::nn {

/// Weights over positions [B, M, T], rows of probabilities over what is there, from scores [B, T, M].
inline Tensor pooling_weights(Tensor const& scores, Tensor const& lengths) {
  Tensor const s = scores.transpose(1, 2);
  return lengths.defined() ? masked::softmax(s, valid_positions(lengths, s.size(2)).unsqueeze(1), -1) : softmax(s, -1);
}

/// What poolings share: weights over positions from scores [B, T, M], and a result [B, M, dim].
class WeightedPooling : public Attention {
 public:
  using Attention::Attention;
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .pools = true, .time = Growth::linear};
  }
  /// A [B, M, T]: rows of probabilities.
  Tensor weights(Tensor const& x, Tensor const& lengths = {}) const { return pooling_weights(scores(x), lengths); }

 private:
  virtual Tensor scores(Tensor const& x) const = 0;
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    return matmul(weights(x, context.lengths), x);
  }
};

/// A = softmax_T(W₂·tanh(W₁·xᵀ)), A·x: `rows` views of a sentence, each a weighted mean (Lin et al., "A structured
/// self-attentive sentence embedding", 2017): T·hidden·dim. rows = 1 is additive pooling. overlap() keeps the rows
/// apart.
class StructuredPooling final : public WeightedPooling {
 public:
  struct Config {
    int64_t rows = 4;
    int64_t hidden = 0;
    void visit(ConfigVisitor& v) {
      v.field("rows", rows, "vectors that come out");
      v.field("hidden", hidden, "width between the two layers, features; 0: dim");
    }
  };
  StructuredPooling(AttentionConfig const& given, Config const& own)
      : WeightedPooling(given),
        w1(config.dim, own.hidden ? own.hidden : config.dim, false),
        w2(own.hidden ? own.hidden : config.dim, own.rows, false) {}
  /// ‖A·Aᵀ − I‖²_F [B], 0 for rows that are different single positions.
  static Tensor overlap(Tensor const& a) {
    Tensor const excess = matmul(a, a.transpose(1, 2)) - eye(a.size(1)).to(a.dtype()).to(a.device());
    return sum(excess * excess, {1, 2});
  }
  void visit(Visitor& visitor) override {
    visitor.child("w1", w1);
    visitor.child("w2", w2);
  }

  Linear w1, w2;

 private:
  Tensor scores(Tensor const& x) const override { return w2(tanh(w1(x))); }
};

/// Gated multiple-instance pooling: a = softmax_T(w·(tanh(V·x) ⊙ σ(U·x))), Σ a·x (Ilse et al., "Attention-based deep
/// multiple instance learning", 2018). For bags of which few instances matter.
class GatedPooling final : public WeightedPooling {
 public:
  explicit GatedPooling(AttentionConfig const& given)
      : WeightedPooling(given),
        v(config.dim, config.dim, false),
        u(config.dim, config.dim, false),
        w(config.dim, 1, false) {}
  void visit(Visitor& visitor) override {
    visitor.child("v", v);
    visitor.child("u", u);
    visitor.child("w", w);
  }

  Linear v, u, w;

 private:
  Tensor scores(Tensor const& x) const override { return w(tanh(v(x)) * sigmoid(u(x))); }
};

/// Multi-head attention of `seeds` learned queries over the sequence: [B, T, dim] → [B, seeds, dim] (Lee et al., "Set
/// Transformer", PMA, 2019): seeds·T·dim. For sets, and for the one vector that a classifier needs.
class SeedPooling final : public Attention {
 public:
  struct Config {
    int64_t seeds = 1;
    void visit(ConfigVisitor& v) { v.field("seeds", seeds, "vectors that come out"); }
  };
  SeedPooling(AttentionConfig const& given, Config const& own) : Attention(given), look(config) {
    check(own.seeds >= 1, "pma", [] { return Complaint{"expected 1 seed or more", "pass 1 for one vector"}; });
    seeds = randn({own.seeds, config.dim}) * 0.02;
    seeds.requires_grad_();
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .pools = true, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override {
    visitor.child("look", look);
    visitor.parameter("seeds", seeds);
  }

  MultiHeadAttention look;
  Tensor seeds;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    return look(seeds.unsqueeze(0).expand({x.size(0), seeds.size(0), seeds.size(1)}),
                {.memory = x, .memory_lengths = context.lengths});
  }
};

}  // namespace heed::nn
