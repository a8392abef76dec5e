// ADOPT: Adam that converges for every β₂: it divides by the mean square of the steps before, and then takes the mean.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// u = clip(g/max(√v, ε), ±t^¼) with v of the steps before; m ← β₁m + (1 − β₁)u; θ ← θ(1 − ηλ) − ηm; v ← β₂v +
/// (1 − β₂)g². The first step only sets v = g² (Taniguchi et al., 2024).
struct AdoptRule {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.9999, eps = 1e-6;

  static constexpr char const* name = "adopt";
  std::string_view slots() const { return "exp_avg exp_avg_sq"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of normalised gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "smallest divisor");
  }
  void operator()(Element& e) const {
    Symbol &m = e.state[0], &v = e.state[1];
    if (e.first()) {
      v = square(e.g);
      return;
    }
    double const bound = std::pow(double(e.t - 1), 0.25);
    e.decay_parameter();
    m = lerp(m, min(max(e.g / max(sqrt(v), eps), -bound), bound), 1 - beta1);
    e.p = e.p - e.rate * m;
    v = beta2 * v + (1 - beta2) * square(e.g);
  }
};
using Adopt = Pointwise<AdoptRule>;

}  // namespace heed::optim
