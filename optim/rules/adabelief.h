// AdaBelief: long steps where gradients come as foreseen, short ones where they surprise.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// m as in Adam; s ← β₂s + (1 − β₂)(g − m)² + ε; θ ← θ(1 − ηλ) − η·m̂/(√ŝ + ε) (Zhuang et al., 2020).
struct AdaBeliefRule {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-16;

  static constexpr char const* name = "adabelief";
  std::string_view slots() const { return "exp_avg exp_avg_var"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squared surprises, 0 to below 1");
    v.field("eps", eps, "added to the surprises and to the root");
  }
  void operator()(Element& e) const {
    Symbol &m = e.state[0], &s = e.state[1];
    e.decay_parameter();
    m = lerp(m, e.g, 1 - beta1);
    s = beta2 * s + (1 - beta2) * square(e.g - m) + eps;
    e.p = e.p - e.rate / correction(beta1, e.t) * m / (sqrt(s) / std::sqrt(correction(beta2, e.t)) + eps);
  }
};
using AdaBelief = Pointwise<AdaBeliefRule>;

}  // namespace heed::optim
