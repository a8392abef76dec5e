// RAdam: Adam that warms itself up: plain momentum until the variance of its adaptive rate is known.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// ρ_t = ρ_∞ − 2tβ₂^t/(1 − β₂^t), ρ_∞ = 2/(1 − β₂) − 1; ρ_t > 5: θ ← θ − η·r_t·m̂/√v̂, r_t² = (ρ_t − 4)(ρ_t − 2)ρ_∞ /
/// ((ρ_∞ − 4)(ρ_∞ − 2)ρ_t), else θ ← θ − η·m̂, with λθ in g (Liu et al., 2020).
struct RAdamRule {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;

  static constexpr char const* name = "radam";
  std::string_view slots() const { return "exp_avg exp_avg_sq"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
  }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    adam_means(e, beta1, beta2, eps);
    double const known = correction(beta2, e.t), most = 2 / (1 - beta2) - 1;
    double const length = most - 2 * double(e.t) * (1 - known) / known;
    Symbol step = e.rate / correction(beta1, e.t) * e.state[0];
    if (length > 5)
      step = step * std::sqrt(known * (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) /
             (sqrt(e.state[1]) + eps);
    e.p = e.p - step;
  }
};
using RAdam = Pointwise<RAdamRule>;

}  // namespace heed::optim
