// Adadelta: steps in units of past steps, so that no rate needs to be chosen (η = 1).
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// v ← ρv + (1 − ρ)g²; Δ = √(u + ε)/√(v + ε)·g; u ← ρu + (1 − ρ)Δ²; θ ← θ − ηΔ, with λθ in g (Zeiler, 2012).
struct AdadeltaRule {
  double learning_rate = 1, rho = 0.9, eps = 1e-6;

  static constexpr char const* name = "adadelta";
  std::string_view slots() const { return "square_avg acc_delta"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("rho", rho, "decay of both mean squares, 0 to below 1");
    v.field("eps", eps, "added below both roots");
  }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    Symbol &squares = e.state[0], &steps = e.state[1];
    squares = rho * squares + (1 - rho) * square(e.g);
    Symbol const step = sqrt(steps + eps) / sqrt(squares + eps) * e.g;
    steps = rho * steps + (1 - rho) * square(step);
    e.p = e.p - e.rate * step;
  }
};
using Adadelta = Pointwise<AdadeltaRule>;

}  // namespace heed::optim
