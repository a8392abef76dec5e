// Attention on exponentials of values.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// log(A·exp(v)), a soft maximum of what is attended to: its gradient does not vanish where the softmax saturates
/// (Duvvuri and Dhillon, "LASER", 2024). Never less than A·v. Values are shifted by the largest of each feature, which
/// changes nothing but the range; A is a softmax of any scores. Time and memory of softmax attention.
class Laser final : public Part {
 public:
  using Part::Part;
  bool spreads() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const& next) const override {
    HeadOperands raised = o;
    Tensor const shift = amax(o.v.detach(), {2}, true);
    raised.v = exp(o.v - shift);
    // A row that sees nothing, and rows that see only what lies far below the largest, would give −∞.
    constexpr double least = 1e-35;
    auto const [out, lse] = next(raised);
    return {where(out > least, log(clamp_min(out, least)) + for_each_head(shift, config.heads), 0.), lse};
  }
};

}  // namespace heed::nn
