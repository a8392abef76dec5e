// Muon: the momentum of a matrix, made orthogonal: all its directions are learnt at the same pace. For the hidden
// matrices of a network; what is not one of them is trained by AdamW.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct MuonConfig {
  double learning_rate = 2e-3, momentum = 0.95;
  bool nesterov = true;
  int64_t iterations = 5;
  std::string scale = "rms";
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  void visit(nn::ConfigVisitor& v) {
    v.field("momentum", momentum, "μ, 0 to below 1");
    v.field("nesterov", nesterov, "Nesterov's form");
    v.field("iterations", iterations, "of Newton-Schulz; 0: the exact polar factor, by singular values");
    v.field("scale", scale, "of a step [R, C]: rms for 0.2·√max(R, C), as long as AdamW's; original for √max(1, R/C)");
    v.field("beta1", beta1, "of AdamW for the others, 0 to below 1");
    v.field("beta2", beta2, "of AdamW for the others, 0 to below 1");
    v.field("eps", eps, "of AdamW for the others");
  }
};

/// The matrix nearest to x [R, C] among those with orthonormal rows (or columns), U·Vᵀ of x = U·diag(s)·Vᵀ. With
/// iterations, x/‖x‖ ← a·x + (b·xxᵀ + c·(xxᵀ)²)x, which takes singular values to between 0.7 and 1.2.
Tensor polar_factor(Tensor const& x, int64_t iterations);

/// b ← μb + (1 − μ)g; θ ← θ(1 − ηλ) − η·scale·polar(nesterov ? μb + (1 − μ)g : b) (Jordan et al., 2024; scale: Liu et
/// al., 2025). Hidden matrices have rank 2 or more, later axes joined, and no "embedding" or "head" in their names.
class Muon final : public Optimizer {
 public:
  explicit Muon(std::vector<ParameterGroup>&& groups, MuonConfig const& config = {});

 private:
  void update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double gradient_scale) override;
  MuonConfig config_;
};

}  // namespace heed::optim
