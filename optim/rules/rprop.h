// Rprop: a step of its own for every weight, longer while the sign of its gradient stays. For full batches alone.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// Δ ← clip(Δ·{η⁺ where g·g_prev > 0, η⁻ where < 0}, smallest, largest), from η; θ ← θ − sign(g)·Δ, where the sign
/// turned g counts as 0; with λθ in g (Riedmiller and Braun, 1993, as in PyTorch).
struct RpropRule {
  double learning_rate = 1e-2, shrink = 0.5, grow = 1.2, smallest = 1e-6, largest = 50;

  static constexpr char const* name = "rprop";
  std::string_view slots() const { return "prev step_size"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("shrink", shrink, "η⁻, factor where the sign turned");
    v.field("grow", grow, "η⁺, factor where it stayed");
    v.field("smallest", smallest, "shortest step");
    v.field("largest", largest, "longest step");
  }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    Symbol &previous = e.state[0], &length = e.state[1];
    if (e.first()) length = e.rate;
    Symbol const agree = e.g * sign(previous);
    length = min(max(length * select(agree > 0., grow, select(agree < 0., shrink, 1.)), smallest), largest);
    Symbol const g = select(agree < 0., 0., e.g);
    e.p = e.p - sign(g) * length;
    previous = g;
  }
};
using Rprop = Pointwise<RpropRule>;

}  // namespace heed::optim
