// Attention without a normaliser.
#pragma once

#include <heed/nn/attention/part.h>

namespace heed::nn {

/// Σ_j s_ij·v_j: scores are weights, so that the result adds up over the history and its size tells how much of it
/// speaks for the query (Zhou et al., "Deep interest network", DIN, 2018, whose scores are a small network's: name
/// "additive" before it). Time and memory of softmax attention. For recommenders, where a user's interest counts, not
/// its share; long histories give large results, which a norm after it must bear.
class TargetWeights final : public Part {
 public:
  using Part::Part;
  void normalise(HeadOperands& o) const override {
    expect_softmax("din", o.options);
    o.options.weight = [](auto s, auto) { return s; };
  }
};

}  // namespace heed::nn
