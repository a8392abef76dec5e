// Stick-breaking attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>

namespace heed::nn {

/// A_ij = β_ij·∏_{j<l<i}(1 − β_il), β = σ(s), j < i: each query goes back from its own place and breaks off what each
/// key asks of what is left, so that the nearest key that matches wins and no positions are needed (Tan et al.,
/// "Stick-breaking attention", 2024). Rows sum to 1 − ∏(1 − β): the rest goes nowhere; the first position sees nothing.
/// The product runs over keys in order, which the fused core's sums do not: scores of a block of queries are held and
/// made again for backward, those of all where a hook looks.
class StickBreaking final : public Part {
 public:
  using Part::Part;
  void options(HeadOperands& o) const override {
    also_sees(o.options, [](auto at) { return at.j < at.i; });
  }
  bool is_core() const override { return true; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    expect_softmax("stick-breaking", o.options);
    return core(
        o.q, o.k, o.v, o.options,
        [](Tensor const& q, Tensor const& k, AttendOptions const& options) {
          Tensor const s = dense_scores(q, k, options), seen = s > -INFINITY, known = where(seen, s, 0.);
          // log(1 − β) summed from the end down to behind j.
          Tensor const missed = where(seen, -softplus(known), 0.);
          Tensor const after = flip(cumsum(flip(missed, {3}), 3), {3}) - missed;
          return where(seen, exp(after - softplus(-known)), 0.);
        },
        true);
  }
  Traits traits() const override { return {.bidirectional = false, .cross = false, .equivariant = false}; }
};

}  // namespace heed::nn
