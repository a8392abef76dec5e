#include <heed/nn/norm/features.h>

#include <cmath>

namespace heed::nn {

ScaleNorm::ScaleNorm(int64_t dim, double eps) : g(scalar(std::sqrt(double(dim))).requires_grad_()), eps(eps) {}

DynamicTanh::DynamicTanh(int64_t dim, bool with_bias, double alpha)
    : alpha(scalar(alpha).requires_grad_()), weight(ones({dim}).requires_grad_()) {
  if (with_bias) bias = zeros({dim}).requires_grad_();
}
Tensor DynamicTanh::forward(Tensor const& x) const {
  Tensor const y = tanh(x * alpha) * weight;
  return bias.defined() ? y + bias : y;
}
void DynamicTanh::visit(Visitor& visitor) {
  visitor.parameter("alpha", alpha);
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

QKNorm::QKNorm(int64_t head_dim, Kind kind, double eps)
    : weight(kind == Kind::rms ? ones({head_dim}) : scalar(std::pow(double(head_dim), 0.5))), kind(kind), eps(eps) {
  weight.requires_grad_();
}
Tensor QKNorm::forward(Tensor const& x) const {
  return kind == Kind::rms ? rms_norm(x, weight, eps) : normalize(x, 2, -1, eps) * weight;
}

}  // namespace heed::nn
