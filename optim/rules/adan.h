// Adan: Nesterov momentum from differences of gradients, without a gradient at the point ahead.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// d = g − g_prev; m, u ← moving means of g and d (β₁, β₂); n ← β₃n + (1 − β₃)(g + β₂d)²;
/// θ ← (θ − η(m̂ + β₂û)/(√n̂ + ε))/(1 + ηλ) (Xie et al., 2022; β here is what is kept, 1 − β of the paper).
struct AdanRule {
  double learning_rate = 1e-3, beta1 = 0.98, beta2 = 0.92, beta3 = 0.99, eps = 1e-8;

  static constexpr char const* name = "adan";
  std::string_view slots() const { return "exp_avg exp_avg_diff exp_avg_sq previous"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of differences, 0 to below 1");
    v.field("beta3", beta3, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
  }
  void operator()(Element& e) const {
    Symbol &m = e.state[0], &u = e.state[1], &n = e.state[2], &previous = e.state[3];
    Symbol const d = e.first() ? Symbol(0.) : e.g - previous;
    m = lerp(m, e.g, 1 - beta1);
    u = lerp(u, d, 1 - beta2);
    n = beta3 * n + (1 - beta3) * square(e.g + beta2 * d);
    Symbol const step = (m / correction(beta1, e.t) + u * (beta2 / correction(beta2, e.t))) /
                        (sqrt(n) / std::sqrt(correction(beta3, e.t)) + eps);
    e.p = (e.p - e.rate * step) / (1 + e.rate * e.decay);
    previous = e.g;
  }
};
using Adan = Pointwise<AdanRule>;

}  // namespace heed::optim
