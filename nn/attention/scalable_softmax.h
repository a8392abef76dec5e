// Scores that grow with the number of keys.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// a_h·log(n)·s, n the keys that the query sees and a_h learned from 0.43: the softmax does not fade to uniform as
/// sequences grow (Nakanishi, "Scalable-softmax is superior for attention", 2025). Costs nothing; a = 1/log n is the
/// softmax. Name it behind positions that act on scores, and they are scaled as well.
class ScalableSoftmax final : public Part {
 public:
  explicit ScalableSoftmax(AttentionConfig const& given) : Part(given), strength(full({given.heads}, 0.43)) {
    strength.requires_grad_();
  }
  void options(HeadOperands& o) const override {
    Tensor const log_n = log(key_counts(o));
    then_score(o.options, [&](auto s, auto at) {
      return s * (read(strength, {at.h}) * read(log_n, {at.b, o.position(at.i)}));
    });
  }
  void visit(Visitor& visitor) override { visitor.parameter("strength", strength); }

  Tensor strength;
};

}  // namespace heed::nn
