// Attention on attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/linear.h>

namespace heed::nn {

/// σ(W_g·[q, o]) ⊙ (W_i·[q, o]): the query decides what of the result is an answer to it (Huang et al., "Attention on
/// attention for image captioning", 2019). Two projections of twice the width.
class AttentionOnAttention final : public Part {
 public:
  explicit AttentionOnAttention(AttentionConfig const& given)
      : Part(given), gate(2 * given.dim, given.dim), information(2 * given.dim, given.dim) {}
  Tensor finish(Tensor const& out, HeadOperands const& o) const override {
    Tensor const both = cat({join_heads(o.q), join_heads(out)}, 2);
    return split_heads(sigmoid(gate(both)) * information(both), config.heads);
  }
  void visit(Visitor& visitor) override {
    visitor.child("gate", gate);
    visitor.child("information", information);
  }

  Linear gate, information;
};

}  // namespace heed::nn
