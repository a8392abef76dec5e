// Adamax: Adam with the largest recent gradient in place of the root mean square. Bounded steps, no root.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// m ← β₁m + (1 − β₁)g; u ← max(β₂u, |g| + ε); θ ← θ − η/(1 − β₁^t)·m/u, with λθ in g (Kingma and Ba, 2015, section 7).
struct AdamaxRule {
  double learning_rate = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;

  static constexpr char const* name = "adamax";
  std::string_view slots() const { return "exp_avg exp_inf"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the largest gradient, 0 to below 1");
    v.field("eps", eps, "added to |g|");
  }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    Symbol &m = e.state[0], &u = e.state[1];
    m = lerp(m, e.g, 1 - beta1);
    u = max(beta2 * u, abs(e.g) + eps);
    e.p = e.p - e.rate / correction(beta1, e.t) * m / u;
  }
};
using Adamax = Pointwise<AdamaxRule>;

}  // namespace heed::optim
