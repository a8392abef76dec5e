// Adagrad: coordinates with a history of large gradients move less. For sparse features; on long runs its rate dies.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// s ← s + g²; θ ← θ − η_t·g/(√(s + s₀) + ε), η_t = η/(1 + (t − 1)·d), with λθ in g (Duchi et al., 2011).
struct AdagradRule {
  double learning_rate = 1e-2, rate_decay = 0, initial = 0, eps = 1e-10;

  static constexpr char const* name = "adagrad";
  std::string_view slots() const { return "sum"; }
  void visit(nn::ConfigVisitor& v) {
    v.field("rate_decay", rate_decay, "d: the rate is divided by 1 + (t − 1)·d");
    v.field("initial", initial, "s₀, added to the sum of squares");
    v.field("eps", eps, "added to the root");
  }
  double rate(Element const& e) const { return e.rate / (1 + double(e.t - 1) * rate_decay); }
  bool kernel(StepArrays const& at, Element const& e) const { return adagrad_kernel(at, e, rate(e), initial, eps); }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    Symbol& sum = e.state[0];
    sum = sum + square(e.g);
    e.p = e.p - rate(e) * (e.g / (sqrt(sum + initial) + eps));
  }
};
using Adagrad = Pointwise<AdagradRule>;

}  // namespace heed::optim
