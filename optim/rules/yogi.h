// Yogi: Adam whose mean square moves by bounded amounts, so that it does not forget large gradients at once.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// v ← v − (1 − β₂)·sign(v − g²)·g², from v₀; θ ← θ(1 − ηλ) − η·m̂/(√v̂ + ε) (Zaheer et al., 2018).
struct YogiRule {
  double learning_rate = 1e-2, beta1 = 0.9, beta2 = 0.999, eps = 1e-3, initial = 1e-6;

  static constexpr char const* name = "yogi";
  std::string_view slots() const { return "exp_avg exp_avg_sq"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "1 − the share of g² that the mean square moves by, 0 to below 1");
    v.field("eps", eps, "added to the root");
    v.field("initial", initial, "v₀, where both means start");
  }
  void operator()(Element& e) const {
    Symbol &m = e.state[0], &v = e.state[1];
    e.decay_parameter();
    if (e.first()) m = v = initial;
    Symbol const g2 = square(e.g);
    m = lerp(m, e.g, 1 - beta1);
    v = v - (1 - beta2) * sign(v - g2) * g2;
    e.p = e.p - e.rate / correction(beta1, e.t) * m / (sqrt(v) / std::sqrt(correction(beta2, e.t)) + eps);
  }
};
using Yogi = Pointwise<YogiRule>;

}  // namespace heed::optim
