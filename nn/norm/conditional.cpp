#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/init.h>
#include <heed/nn/norm/conditional.h>

namespace heed::nn {

AdaLNZero::AdaLNZero(int64_t dim, int64_t condition_dim, double eps) : linear(condition_dim, 3 * dim), eps(eps) {
  init::constant_(linear.weight, 0);
  init::constant_(linear.bias, 0);
}

AdaLNZero::Modulation AdaLNZero::modulation(Tensor const& condition) const {
  check(condition.defined() && condition.rank() == 2 && condition.size(1) == linear.weight.size(1), "AdaLNZero", [&] {
    return Complaint{fmt::format("expected a condition [B, {}], got {}", linear.weight.size(1),
                                 condition.defined() ? to_string(condition.shape()) : "none"),
                     "pass one vector a sample"};
  });
  auto const parts = chunk(linear(silu(condition)).unsqueeze(1), 3, -1);
  return {parts[0], parts[1], parts[2]};
}

Tensor AdaLNZero::modulated(Tensor const& x, Modulation const& by) const {
  return layer_norm(x, {}, {}, eps) * (by.scale + 1.0) + by.shift;
}

Tensor AdaLNZero::residual(Tensor const& x, Tensor const& condition,
                           std::function<Tensor(Tensor const&)> const& f) const {
  Modulation const by = modulation(condition);
  return x + f(modulated(x, by)) * by.gate;
}

Tensor AdaLNZero::forward(Tensor const& x) const {
  return modulated(x, modulation(zeros({1, linear.weight.size(1)}, x.dtype(), x.device())));
}

}  // namespace heed::nn
