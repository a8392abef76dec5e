#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/norm/series.h>

namespace heed::nn {

RevIN::RevIN(int64_t channels, bool affine, double eps) : channels(channels), eps(eps) {
  if (!affine) return;
  weight = ones({channels}).requires_grad_();
  bias = zeros({channels}).requires_grad_();
}

RevIN::Statistics RevIN::statistics(Tensor const& x) const {
  check_defined("RevIN", x);
  check(x.rank() == 3 && x.size(2) == channels && x.size(1) >= 1, "RevIN", [&] {
    return Complaint{fmt::format("expected series [B, T, {}], got {}", channels, to_string(x.shape())),
                     "put time on axis 1 and channels last"};
  });
  auto const [variance, middle] = var_mean(x, {1}, 0, true);
  return {middle, sqrt(variance + eps)};
}

Tensor RevIN::normalize(Tensor const& x, Statistics const& of) const {
  Tensor const y = (x - of.mean) / of.deviation;
  return weight.defined() ? y * weight + bias : y;
}

Tensor RevIN::denormalize(Tensor const& y, Statistics const& of) const {
  return (weight.defined() ? (y - bias) / weight : y) * of.deviation + of.mean;
}

void RevIN::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

}  // namespace heed::nn
