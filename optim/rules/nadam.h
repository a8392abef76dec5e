// NAdam: Adam with Nesterov's look ahead.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// μ_t = β₁(1 − ½·0.96^(tψ)), Π = Π μ_i; θ ← θ − η((1 − μ_t)/(1 − Π_t)·g + μ_{t+1}/(1 − Π_{t+1})·m)/(√v̂ + ε), with λθ
/// in g (Dozat, 2016).
struct NAdamRule {
  double learning_rate = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, momentum_decay = 4e-3;

  static constexpr char const* name = "nadam";
  std::string_view slots() const { return "exp_avg exp_avg_sq"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
    v.field("momentum_decay", momentum_decay, "ψ: how fast μ_t comes to β₁");
  }
  double mu(int64_t t) const { return beta1 * (1 - 0.5 * std::pow(0.96, double(t) * momentum_decay)); }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    if (e.t < counted) counted = 0, product = 1;
    while (counted < e.t) product *= mu(++counted);  // a pure function of t, kept because it takes t factors
    double const next = mu(e.t + 1);
    Symbol const root = adam_means(e, beta1, beta2, eps);
    e.p = e.p - e.rate * (1 - mu(e.t)) / (1 - product) * e.g / root -
          e.rate * next / (1 - product * next) * e.state[0] / root;
  }
  mutable int64_t counted = 0;
  mutable double product = 1;
};
using NAdam = Pointwise<NAdamRule>;

}  // namespace heed::optim
