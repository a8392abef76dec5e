// Sigmoid attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// σ(s − log n), n the keys that the query sees: every pair decides for itself, none takes weight from another, and
/// uniform scores of 0 still sum to about ½ (Ramapuram et al., "Theory, analysis, and best practices for sigmoid
/// self-attention", 2024). Time and memory of softmax attention. No competition means no sinks, but a head has to learn
/// to be sparse; keep a norm before the layer.
class SigmoidWeights final : public Part {
 public:
  using Part::Part;
  void normalise(HeadOperands& o) const override {
    expect_softmax("sigmoid", o.options);
    Tensor const bias = log(key_counts(o));
    o.options.weight = [&](auto s, auto at) { return sigmoid(s - read(bias, {at.b, o.position(at.i)})); };
  }
};

}  // namespace heed::nn
