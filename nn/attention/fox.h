// The forgetting transformer.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/linear.h>

namespace heed::nn {

/// s_ij + c_i − c_j, c the running sum of log f_t, f = σ(x·W_f + b) for each head of keys: what lies behind a closed
/// gate is forgotten, by content and not by distance alone (Lin et al., "Forgetting transformer", 2025). f = 1 is the
/// softmax, a constant f is ALiBi; it needs no positions beside it. Time and memory of multi-head; a cache keeps one
/// more number for each key.
class Forgetting final : public Part {
 public:
  explicit Forgetting(AttentionConfig const& given) : Part(given), gate(given.dim, given.kv_heads) {}
  void project(HeadOperands& o) const override {
    check(!o.carried.defined(), "fox", [] {
      return Complaint{"another part carries numbers beside the keys already", "leave one of them out"};
    });
    o.carried = -softplus(-gate(o.source)).transpose(1, 2).unsqueeze(3);
  }
  void options(HeadOperands& o) const override {
    Tensor const forgotten = o.carried.squeeze(3);
    Tensor const c = cumsum(is_half(forgotten.dtype()) ? forgotten.to(Dtype::f32) : forgotten, 2);
    double const share = double(c.size(1)) / double(config.heads);
    then_score(o.options, [&](auto s, auto at) {
      auto const g = floor((at.h + 0.5) * share);
      return s + (read(c, {at.b, g, at.i}) - read(c, {at.b, g, at.j}));
    });
  }
  void visit(Visitor& visitor) override { visitor.child("gate", gate); }
  bool spreads() const override { return false; }
  Traits traits() const override { return {.bidirectional = false, .cross = false, .equivariant = false}; }

  Linear gate;
};

}  // namespace heed::nn
