// AdEMAMix: AdamW with a second, very slow mean of gradients. For long runs: the slow mean needs some 1/(1 − β₃) steps.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// m₁, v as in Adam; m₂ ← β₃m₂ + (1 − β₃)g; θ ← θ(1 − ηλ) − η(m̂₁ + α·m₂)/(√v̂ + ε) (Pagliardini et al., 2024), without
/// their schedules of α and β₃.
struct AdemamixRule {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, beta3 = 0.9999, mix = 5, eps = 1e-8;

  static constexpr char const* name = "ademamix";
  std::string_view slots() const { return "exp_avg exp_avg_sq exp_avg_slow"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the fast mean, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("beta3", beta3, "decay of the slow mean, 0 to below 1");
    v.field("mix", mix, "α, weight of the slow mean");
    v.field("eps", eps, "added to the root");
  }
  void operator()(Element& e) const {
    e.decay_parameter();
    Symbol const root = adam_means(e, beta1, beta2, eps);
    Symbol& slow = e.state[2];
    slow = lerp(slow, e.g, 1 - beta3);
    e.p = e.p - e.rate * (e.state[0] / correction(beta1, e.t) + mix * slow) / root;
  }
};
using Ademamix = Pointwise<AdemamixRule>;

}  // namespace heed::optim
