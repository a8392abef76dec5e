// Softmax with a one in its denominator.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// exp(s)/(1 + Σ exp(s)): as if a key 0 with value 0 stood beside the others, so that a head can attend to nothing and
/// the first position need not become a sink (Miller, "Attention is off by one", 2023). Costs nothing; where heads
/// should choose how much nothing weighs, take a sink.
class SoftmaxOne final : public Part {
 public:
  using Part::Part;
  void normalise(HeadOperands& o) const override {
    expect_softmax("softmax-1", o.options);
    o.options.sink = zeros({config.heads}, Dtype::f32, o.q.device());
  }
};

}  // namespace heed::nn
