#include <heed/engine/ops.h>
#include <heed/nn/norm.h>

namespace heed::nn {

LayerNorm::LayerNorm(int64_t dim, bool with_bias, double eps) : weight(ones({dim}).requires_grad_()), eps(eps) {
  if (with_bias) bias = zeros({dim}).requires_grad_();
}
Tensor LayerNorm::forward(Tensor const& x) const { return layer_norm(x, weight, bias, eps); }
void LayerNorm::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

RMSNorm::RMSNorm(int64_t dim, double eps) : weight(ones({dim}).requires_grad_()), eps(eps) {}
Tensor RMSNorm::forward(Tensor const& x) const { return rms_norm(x, weight, eps); }
void RMSNorm::visit(Visitor& visitor) { visitor.parameter("weight", weight); }

}  // namespace heed::nn
