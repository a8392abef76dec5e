#include <heed/nn/quantized.h>

namespace heed::nn {

LinearInt8::LinearInt8(Linear const& trained)
    : weight(quantize_int8(trained.weight)), bias(trained.bias.defined() ? trained.bias.detach().clone() : Tensor()) {}

void LinearInt8::visit(Visitor& visitor) {
  visitor.buffer("weight", weight.values);
  visitor.buffer("scale", weight.scale);
  visitor.buffer("bias", bias);
}

}  // namespace heed::nn
