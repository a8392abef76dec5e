// LaProp: momentum of gradients that are normalised first, where Adam normalises their momentum: stable for β₂ < β₁.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// v ← β₂v + (1 − β₂)g²; m ← β₁m + (1 − β₁)·g/(√v̂ + ε); θ ← θ(1 − ηλ) − η·m̂ (Ziyin et al., 2020).
struct LaPropRule {
  double learning_rate = 4e-4, beta1 = 0.9, beta2 = 0.999, eps = 1e-15;

  static constexpr char const* name = "laprop";
  std::string_view slots() const { return "exp_avg exp_avg_sq"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of normalised gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
  }
  void operator()(Element& e) const {
    Symbol &m = e.state[0], &v = e.state[1];
    e.decay_parameter();
    v = beta2 * v + (1 - beta2) * square(e.g);
    m = lerp(m, e.g / (sqrt(v) / std::sqrt(correction(beta2, e.t)) + eps), 1 - beta1);
    e.p = e.p - e.rate / correction(beta1, e.t) * m;
  }
};
using LaProp = Pointwise<LaPropRule>;

}  // namespace heed::optim
