// Sophia: steps by the diagonal of the Hessian, each no longer than the rate. For language models; every tenth step
// costs a second evaluation.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct SophiaConfig {
  double learning_rate = 1e-3, beta1 = 0.96, beta2 = 0.99, gamma = 0.01, eps = 1e-12, radius = 1e-3;
  int64_t every = 10;
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of curvatures, 0 to below 1");
    v.field("gamma", gamma, "γ: smaller is nearer to steps of the sign");
    v.field("eps", eps, "least curvature");
    v.field("radius", radius, "how far away the second gradient is taken, in each weight");
    v.field("every", every, "steps between two looks at the curvature");
  }
};

/// m ← β₁m + (1 − β₁)g; every k steps h ← β₂h + (1 − β₂)·u∘Hu; θ ← θ(1 − ηλ) − η·clip(m/max(γh, ε), ±1), u of random
/// signs (Liu et al., 2023: Sophia-H). Hu is (g(θ + ru) − g(θ))/r on the same batch, exact for quadratics.
class Sophia final : public PointwiseOptimizer {
 public:
  explicit Sophia(std::vector<ParameterGroup>&& groups, SophiaConfig const& config = {});

 private:
  void apply(double gradient_scale) override;
  Evaluation search(Closure const& closure) override;
  void formula(Element& e) const override;
  SophiaConfig config_;
};

}  // namespace heed::optim
