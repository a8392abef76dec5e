// Scores that do not compare.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>
#include <heed/nn/linear.h>

namespace heed::nn {

/// s_ij learned outright [H, block, block] ("random"), or s_i = W₂·relu(W₁·x_i + b₁) + b₂ ("dense"), without keys (Tay
/// et al., "Synthesizer", 2020): shows how much of attention is position alone. Time T²·dim. Content cannot address
/// content: no retrieval. Memory block², or T·block where dense.
class Synthesizer final : public Part {
 public:
  struct Config {
    bool dense = false;
    int64_t hidden = 32;
    void visit(ConfigVisitor& v) {
      v.field("dense", dense, "scores from x; else one table for all");
      v.field("hidden", hidden, "width between the two layers, where dense");
    }
  };
  Synthesizer(AttentionConfig const& given, Config const& own)
      : Part(given), dense_(own.dense), inner(given.dim, own.hidden), outer(own.hidden, given.heads * given.block) {
    expect_at_least(1, "synthesizer", "block (the longest sequence)", given.block);
    expect_at_least(1, "synthesizer", "hidden width", own.hidden);
    if (dense_) return;
    scores = empty({given.heads, given.block, given.block});
    init::normal_(scores, 1);
    scores.requires_grad_();
  }
  void options(HeadOperands& o) const override {
    int64_t const end = o.past + o.q.size(2), t = o.q.size(2), s = o.k.size(2);
    expect_fits("synthesizer", end, config.block);
    if (dense_) {
      Tensor const of_x = split_heads(outer(relu(inner(o.x))), config.heads);
      then_score(o.options, [&](auto, auto at) {
        return read(of_x, {at.b, at.h, at.i - double(s - t), o.position(at.j)});
      });
    } else {
      then_score(o.options, [&](auto, auto at) { return read(scores, {at.h, o.position(at.i), o.position(at.j)}); });
    }
  }
  void visit(Visitor& visitor) override {
    if (dense_) {
      visitor.child("inner", inner);
      visitor.child("outer", outer);
    } else {
      visitor.parameter("scores", scores);
    }
  }
  Traits traits() const override { return {.cross = false, .equivariant = false, .memory = Growth::quadratic}; }

 private:
  bool dense_;

 public:
  Linear inner, outer;
  Tensor scores;
};

}  // namespace heed::nn
