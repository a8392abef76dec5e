// Stochastic gradient descent, with momentum. For what it can train it often generalises best; it needs a tuned rate.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// g ← g + λθ; b ← μb + (1 − d)g (the first b is g); θ ← θ − η·(nesterov ? g + μb : b) (Robbins and Monro, 1951;
/// Polyak, 1964; Sutskever et al., 2013)
struct SGDRule {
  double learning_rate = 1e-2, momentum = 0, dampening = 0;
  bool nesterov = false;

  void require() const { require_momentum(momentum, dampening, nesterov); }
  static constexpr char const* name = "sgd";
  std::string_view slots() const { return momentum > 0 ? "momentum_buffer" : ""; }
  void visit(nn::ConfigVisitor& v) {
    v.field("momentum", momentum, "μ, 0 to below 1");
    v.field("dampening", dampening, "d, of the gradient in the momentum");
    v.field("nesterov", nesterov, "Nesterov's form: needs momentum and no dampening");
  }
  bool kernel(StepArrays const& at, Element const& e) const { return sgd_kernel(at, e, momentum, dampening, nesterov); }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    if (momentum > 0) {
      Symbol& b = e.state[0];
      b = e.first() ? e.g : momentum * b + (1 - dampening) * e.g;
      e.g = nesterov ? e.g + momentum * b : b;
    }
    e.p = e.p - e.rate * e.g;
  }
};
using SGD = Pointwise<SGDRule>;

}  // namespace heed::optim
