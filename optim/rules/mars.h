// MARS: AdamW on gradients whose noise is reduced by the difference to the last one.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// c = g + γ·β₁/(1 − β₁)·(g − g_prev), scaled down to norm 1 per tensor; m, v as in Adam of c; θ ← θ(1 − ηλ) −
/// η·m̂/(√v̂ + ε) (Yuan et al., 2024, MARS-AdamW in its approximate form).
struct MarsRule {
  double learning_rate = 3e-3, beta1 = 0.95, beta2 = 0.99, gamma = 0.025, eps = 1e-8;

  static constexpr char const* name = "mars";
  std::string_view slots() const { return "exp_avg exp_avg_sq previous"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("gamma", gamma, "share of the correction");
    v.field("eps", eps, "added to the root");
  }
  Symbol corrected(Element& e) const {
    if (e.first()) return e.g;
    return e.g + gamma * beta1 / (1 - beta1) * (e.g - e.state[2]);
  }
  std::vector<Symbol> measured(Element& e) const { return {corrected(e)}; }
  void operator()(Element& e) const {
    Symbol const g = e.g;
    e.decay_parameter();
    e.g = corrected(e) / max(e.norm[0], 1.);
    Symbol const root = adam_means(e, beta1, beta2, eps);
    e.p = e.p - e.rate / correction(beta1, e.t) * e.state[0] / root;
    e.state[2] = g;
  }
};
using Mars = Pointwise<MarsRule>;

}  // namespace heed::optim
