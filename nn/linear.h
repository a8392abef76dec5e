// The affine layer.
#pragma once

#include <heed/nn/module.h>

namespace heed::nn {

/// x·weightᵀ + bias: x [.., in] → [.., out]; weight [out, in], bias [out]. Initialised U(±1/√in), as PyTorch's.
class Linear : public Layer<Linear> {
 public:
  Linear(int64_t in, int64_t out, bool with_bias = true);
  Tensor forward(Tensor const& x) const;
  void visit(Visitor& visitor) override;

  Tensor weight, bias;
};

}  // namespace heed::nn
