// Lion: steps of one length, the sign of a mean of gradients. Half of Adam's memory; wants a rate 3 to 10 times smaller
// and a decay as many times larger; not for small batches, whose signs are noise.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// u = sign(β₁m + (1 − β₁)g); θ ← θ(1 − ηλ) − ηu; m ← β₂m + (1 − β₂)g (Chen et al., 2023).
struct LionRule {
  double learning_rate = 1e-4, beta1 = 0.9, beta2 = 0.99;

  static constexpr char const* name = "lion";
  std::string_view slots() const { return "exp_avg"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "weight of the mean in the step, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean, 0 to below 1");
  }
  void operator()(Element& e) const {
    Symbol& m = e.state[0];
    e.decay_parameter();
    e.p = e.p - e.rate * sign(lerp(m, e.g, 1 - beta1));
    m = lerp(m, e.g, 1 - beta2);
  }
};
using Lion = Pointwise<LionRule>;

}  // namespace heed::optim
