// Memorizing attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <algorithm>

namespace heed::nn {

/// σ(g)·(attention to the `nearest` best-scoring of all keys older than `window`) + (1 − σ(g))·(attention to the
/// window), one gate a head (Wu et al., "Memorizing transformers", 2022; what is older is the layer's own past, found
/// exactly, and within one pass it does get gradients). Time T²·dim. Exact recall of what happened long ago beside a
/// cheap neighbourhood; the cache keeps everything.
class Memorizing final : public Part {
 public:
  struct Config {
    int64_t window = 128, nearest = 32;
    void visit(ConfigVisitor& v) {
      v.field("window", window, "keys seen before one's own");
      v.field("nearest", nearest, "older keys taken from memory");
    }
  };
  Memorizing(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(0, "memorizing", "window", own_.window);
    expect_at_least(1, "memorizing", "count of nearest keys", own_.nearest);
    gate = zeros({given.heads});
    gate.requires_grad_();
  }
  Attended weigh(HeadOperands const& o, CoreStep const& next) const override {
    expect_softmax("memorizing", o.options);
    HeadOperands local = o, old = o;
    local.options.left = std::min(o.options.left, own_.window);
    also_sees(old.options, [&](auto at) { return at.i - at.j > double(own_.window); });
    old.options.top_k = own_.nearest;
    return {lerp(next(local).out, next(old).out, sigmoid(gate).view({-1, 1, 1})), {}};
  }
  void visit(Visitor& visitor) override { visitor.parameter("gate", gate); }
  bool spreads() const override { return false; }
  Traits traits() const override { return {.bidirectional = false, .cross = false, .equivariant = false}; }

  Tensor gate;

 private:
  Config own_;
};

}  // namespace heed::nn
