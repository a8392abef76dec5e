// Adam, AMSGrad and their forms with decay apart from the gradient. For nearly everything; AdamW is the usual choice.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← θ − η·m̂/(√v̂ + ε), m̂ and v̂ corrected for their start at zero, with
/// λθ in g, or where `decoupled` θ(1 − ηλ) first (Kingma and Ba, 2015; Loshchilov and Hutter, 2019). AMSGrad divides
/// by the largest v so far (Reddi et al., 2018).
template <bool amsgrad, bool decoupled>
struct AdamRule {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;

  static constexpr char const* name = amsgrad ? "amsgrad" : decoupled ? "adamw" : "adam";
  std::string_view slots() const { return amsgrad ? "exp_avg exp_avg_sq max_exp_avg_sq" : "exp_avg exp_avg_sq"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
  }
  bool kernel(StepArrays const& at, Element const& e) const {
    return adamw_kernel(at, e, beta1, beta2, eps, !decoupled, amsgrad);
  }
  void operator()(Element& e) const {
    if (decoupled)
      e.decay_parameter();
    else
      e.add_decay_to_gradient();
    Symbol root = adam_means(e, beta1, beta2, eps);
    if (amsgrad) {
      Symbol& largest = e.state[2];
      largest = max(largest, e.state[1]);
      root = sqrt(largest) / std::sqrt(correction(beta2, e.t)) + eps;
    }
    e.p = e.p - e.rate / correction(beta1, e.t) * e.state[0] / root;
  }
};
using AdamWRule = AdamRule<false, true>;
using Adam = Pointwise<AdamRule<false, false>>;
using AMSGrad = Pointwise<AdamRule<true, false>>;
using AdamW = Pointwise<AdamWRule>;

}  // namespace heed::optim
