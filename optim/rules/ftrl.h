// FTRL-Proximal: Adagrad that keeps weights at exactly 0 until the evidence is worth it. For sparse linear models.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// n ← n + g²; h' = (β + √n)/η; z ← z + g − (h' − h)θ; θ = −sign(z)·max(0, |z| − λ₁)/(h' + λ₂), with λθ in g (McMahan
/// et al., 2013). z begins where the weights are a solution; h is kept, so that the rate may change.
struct FtrlRule {
  double learning_rate = 0.1, l1 = 0, l2 = 0, smooth = 1;

  static constexpr char const* name = "ftrl";
  std::string_view slots() const { return "z sum strength"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("l1", l1, "λ₁: weights of less evidence are 0");
    v.field("l2", l2, "λ₂: draws weights towards 0");
    v.field("smooth", smooth, "β, added to the root");
  }
  void operator()(Element& e) const {
    if (e.rate == 0) return;
    e.add_decay_to_gradient();
    Symbol &z = e.state[0], &sum = e.state[1], &h = e.state[2];
    if (e.first()) {
      h = smooth / e.rate;
      z = -e.p * (h + l2) - l1 * sign(e.p);
    }
    sum = sum + square(e.g);
    Symbol const next = (sqrt(sum) + smooth) / e.rate;
    z = z + e.g - (next - h) * e.p;
    h = next;
    e.p = -sign(z) * max(abs(z) - l1, 0.) / (h + l2);
  }
};
using Ftrl = Pointwise<FtrlRule>;

}  // namespace heed::optim
