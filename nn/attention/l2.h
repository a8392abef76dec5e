// Scores by distance.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>

namespace heed::nn {

/// −|q − k|²·scale: a query attends to what is near, not to what is long, which bounds how much outputs can change with
/// inputs (Kim, Papamakarios and Mnih, "The Lipschitz constant of self-attention", 2021, where W_q = W_k). The product
/// with two norms beside it: the time of multi-head. It takes the place of scores before it: name it first.
class DistanceScores final : public Part {
 public:
  using Part::Part;
  bool spreads() const override { return false; }
  void options(HeadOperands& o) const override {
    double const scale = o.options.scale != 0 ? o.options.scale : 1 / std::sqrt(double(o.q.size(3)));
    Tensor const q2 = sum(square(o.q), {3}), k2 = sum(square(o.k), {3});
    double const share = double(k2.size(1)) / double(q2.size(1)), shift = double(k2.size(2) - q2.size(2));
    then_score(o.options, [&](auto s, auto at) {
      return 2. * s -
             scale * (read(q2, {at.b, at.h, at.i - shift}) + read(k2, {at.b, floor((at.h + 0.5) * share), at.j}));
    });
  }
};

}  // namespace heed::nn
