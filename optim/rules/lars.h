// LARS: SGD with momentum whose step is in proportion to each tensor's norm. For very large batches of convolutions.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// q = η·‖θ‖/(‖g‖ + λ‖θ‖)·trust (1 where a norm is 0); b ← μb + q(g + λθ); θ ← θ − b (You et al., 2017).
struct LarsRule {
  double learning_rate = 1, momentum = 0.9, trust = 1e-3;

  static constexpr char const* name = "lars";
  std::string_view slots() const { return "momentum_buffer"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("momentum", momentum, "μ, 0 to below 1");
    v.field("trust", trust, "length of a step over ‖θ‖, times the rate");
  }
  std::vector<Symbol> measured(Element& e) const { return {e.p, e.g}; }
  void operator()(Element& e) const {
    Symbol const p = e.norm[0], g = e.norm[1];
    Symbol const ratio = select((p > 0.) & (g > 0.), trust * p / (g + e.decay * p), 1.);
    e.add_decay_to_gradient();
    e.state[0] = momentum * e.state[0] + ratio * (e.rate * e.g);
    e.p = e.p - e.state[0];
  }
};
using Lars = Pointwise<LarsRule>;

}  // namespace heed::optim
