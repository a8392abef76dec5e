// MADGRAD: dual averaging with Adagrad's divisor under a cube root. For sparse problems and long schedules.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// λ_t = η√t; s ← s + λ_t·g; ν ← ν + λ_t·g²; z = θ₀ − s/(∛ν + ε); θ ← μθ + (1 − μ)z, with λθ in g (Defazio and
/// Jelassi, 2021).
struct MadgradRule {
  double learning_rate = 1e-2, momentum = 0.9, eps = 1e-6;

  static constexpr char const* name = "madgrad";
  std::string_view slots() const { return "s grad_sum_sq x0"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("momentum", momentum, "μ, 0 to below 1");
    v.field("eps", eps, "added to the cube root");
  }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    Symbol &s = e.state[0], &nu = e.state[1], &start = e.state[2];
    if (e.first()) start = e.p;
    double const weight = e.rate * std::sqrt(double(e.t));
    s = s + weight * e.g;
    nu = nu + weight * square(e.g);
    e.p = lerp(e.p, start - s / (pow(nu, 1. / 3) + eps), 1 - momentum);
  }
};
using Madgrad = Pointwise<MadgradRule>;

}  // namespace heed::optim
