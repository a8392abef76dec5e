// ASGD: SGD with a rate that falls as a power, and the mean of the weights beside it.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// η_t = η/(1 + d·η·(t − 1))^α; θ ← θ(1 − d·η_t) − η_t·g; from step t₀ on `ax` is the mean of θ; with λθ in g (Polyak
/// and Juditsky, 1992, as in PyTorch).
struct ASGDRule {
  double learning_rate = 1e-2, lambd = 1e-4, power = 0.75, start = 1e6;

  static constexpr char const* name = "asgd";
  std::string_view slots() const { return "ax"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("lambd", lambd, "d, how fast the rate falls");
    v.field("power", power, "α");
    v.field("start", start, "t₀, the step from which weights are averaged");
  }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    double const rate = e.rate / std::pow(1 + lambd * e.rate * double(e.t - 1), power);
    e.p = e.p * (1 - lambd * rate) - rate * e.g;
    double const share = 1 / std::max(1., double(e.t) - 1 - start);
    e.state[0] = share == 1 ? e.p : lerp(e.state[0], e.p, share);
  }
};
using ASGD = Pointwise<ASGDRule>;

}  // namespace heed::optim
