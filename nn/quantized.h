// Layers with weights of 8 bits, for inference.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/linear.h>

namespace heed::nn {

/// A trained Linear with its weight in 8 bits, a scale for each output (engine/ops.h, linear_int8): a quarter of the
/// memory, and of the bytes that a step of decoding reads. No gradients.
class LinearInt8 : public Layer<LinearInt8> {
 public:
  explicit LinearInt8(Linear const& trained);
  Tensor forward(Tensor const& x) const { return linear_int8(x, weight, bias); }
  void visit(Visitor& visitor) override;

  Int8Weight weight;
  Tensor bias;  // undefined where the trained layer has none
};

}  // namespace heed::nn
