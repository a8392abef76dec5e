// Signed weights.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// sign(s)·softmax(|s|): a head may subtract what it dislikes (Lv et al., "More expressive attention with negative
/// weights", Cog attention, 2024). A first pass over the scores finds the softmax's denominator: about twice the time.
class SignedWeights final : public Part {
 public:
  using Part::Part;
  bool spreads() const override { return false; }
  void normalise(HeadOperands& o) const override {
    expect_softmax("cog", o.options);
    AttendOptions absolute = o.options;
    then_score(absolute, [](auto s, auto) { return abs(s); });
    absolute.dropout = 0;
    Tensor const lse = attend(o.q, o.k, o.k.slice(3, 0, 1), absolute).lse;
    double const shift = double(o.k.size(2) - o.q.size(2));
    o.options.weight = [&](auto s, auto at) {
      return copysign(exp(abs(s) - read(lse, {at.b, at.h, at.i - shift})), s);
    };
  }
};

}  // namespace heed::nn
