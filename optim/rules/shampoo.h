// Shampoo: whitens the gradient of a matrix by the roots of its row and column covariances. As SOAP, but the bases'
// roots themselves are applied; vectors, and matrices with no side of up to `largest`, are trained by AdamW.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct ShampooConfig {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.99, beta3 = 0.99, eps = 1e-8, root_eps = 1e-8;
  int64_t every = 10, largest = 1024;
  bool graft = true;
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("beta3", beta3, "decay of the covariances, 0 to below 1");
    v.field("eps", eps, "of Adam, added to the root");
    v.field("root_eps", root_eps, "least eigenvalue of a covariance over its largest one");
    v.field("every", every, "steps between two roots");
    v.field("largest", largest, "longest side that gets a covariance");
    v.field("graft", graft, "steps are as long as Adam's");
  }
};

/// L, R moving means of ggᵀ and gᵀg, m of g; p = L̂^(−¼)·m̂·R̂^(−¼), with one side alone to the power −½; θ ← θ(1 − ηλ) −
/// η·‖Adam's step‖/‖p‖·p (Gupta, Koren and Singer, 2018; Anil et al., 2020).
class Shampoo final : public Optimizer {
 public:
  explicit Shampoo(std::vector<ParameterGroup>&& groups, ShampooConfig const& config = {});

 private:
  void update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double gradient_scale) override;
  ShampooConfig config_;
};

}  // namespace heed::optim
