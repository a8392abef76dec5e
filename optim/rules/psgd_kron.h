// PSGD-Kron: a preconditioner Q_L ⊗ Q_R that learns to whiten gradients by small multiplicative steps: no eigenvalues
// and no inverse of a covariance.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct PsgdKronConfig {
  double learning_rate = 1e-3, beta1 = 0.9, step = 0.1, limit = 1.1;
  int64_t every = 10, first = 100, largest = 1024;
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("step", step, "of the preconditioner, relative to its size");
    v.field("limit", limit, "largest root mean square of an update");
    v.field("every", every, "steps between two of the preconditioner");
    v.field("first", first, "steps at the start that have one each");
    v.field("largest", largest, "longest side with a triangle; longer ones, and vectors, have a diagonal");
  }
};

/// m the mean of g, Q_L and Q_R upper triangular, A = Q_L·m̂·Q_Rᵀ; Q_L ← Q_L − μ·triu(X − Y)·Q_L/σ(X + Y), X = AAᵀ, Y =
/// ‖Q_R⁻¹‖²·(Q_LQ_Lᵀ)⁻¹ (which the paper draws to estimate), σ the largest eigenvalue; Q_R likewise; θ ← θ(1 − ηλ) −
/// η·p·min(1, limit/rms p), p = Q_LᵀQ_L·m̂·Q_RᵀQ_R (Li, 2018; Pooladzandi and Li, 2024).
class PsgdKron final : public Optimizer {
 public:
  explicit PsgdKron(std::vector<ParameterGroup>&& groups, PsgdKronConfig const& config = {});

 private:
  void update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double gradient_scale) override;
  PsgdKronConfig config_;
};

}  // namespace heed::optim
