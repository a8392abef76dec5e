// SOAP: Adam in the eigenbasis of the gradients' row and column covariances (Shampoo's). Fewer steps than Adam, each
// dearer; vectors, and sides longer than `largest`, keep their own axes.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct SoapConfig {
  double learning_rate = 3e-3, beta1 = 0.95, beta2 = 0.95, beta3 = 0.95, eps = 1e-8;
  int64_t every = 10, largest = 1024;
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("beta3", beta3, "decay of the covariances, 0 to below 1");
    v.field("eps", eps, "added to the root");
    v.field("every", every, "steps between two bases; 0: the axes for ever, which is AdamW");
    v.field("largest", largest, "longest side that gets a basis");
  }
};

/// L, R moving means of ggᵀ and gᵀg; Q_L, Q_R their eigenvectors, at first exact, then by one orthogonal iteration; m
/// the mean of g, v the mean of (Q_Lᵀ g Q_R)²; θ ← θ(1 − ηλ) − η·Q_L[(Q_Lᵀ m̂ Q_R)/(√v̂ + ε)]Q_Rᵀ (Vyas et al., 2024).
class Soap final : public Optimizer {
 public:
  explicit Soap(std::vector<ParameterGroup>&& groups, SoapConfig const& config = {});

 private:
  void update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double gradient_scale) override;
  SoapConfig config_;
};

}  // namespace heed::optim
