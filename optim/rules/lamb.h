// LAMB: AdamW whose step is in proportion to each tensor's norm. For very large batches.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// r = m̂/(√v̂ + ε) + λθ; θ ← θ − η·‖θ‖/‖r‖·r (a ratio of 1 where a norm is 0) (You et al., 2020).
struct LambRule {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-6;

  static constexpr char const* name = "lamb";
  std::string_view slots() const { return "exp_avg exp_avg_sq"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
  }
  Symbol direction(Element& e) const {
    Symbol const root = adam_means(e, beta1, beta2, eps);
    return e.state[0] / (root * correction(beta1, e.t)) + e.decay * e.p;
  }
  std::vector<Symbol> measured(Element& e) const { return {e.p, direction(e)}; }
  void operator()(Element& e) const {
    Symbol const p = e.norm[0], r = e.norm[1];
    e.p = e.p - select((p > 0.) & (r > 0.), e.rate * p / r, e.rate) * direction(e);
  }
};
using Lamb = Pointwise<LambRule>;

}  // namespace heed::optim
