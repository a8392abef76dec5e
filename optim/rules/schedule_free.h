// Schedule-Free AdamW: no schedule and no last step to know beforehand; the weights that are judged are a mean.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct ScheduleFreeConfig {
  double learning_rate = 2.5e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "β, share of the mean in the weights that are trained, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
  }
};

/// g at y; v as in Adam; z ← z − η(g/(√v̂ + ε) + λy); x ← x + c(z − x), c = η²/Σ η² over the steps; y ← (1 − β)z + βx
/// (Defazio et al., 2024). The parameters are y, and x while evaluating. Use it with a warm-up and a constant rate.
class ScheduleFree final : public PointwiseOptimizer {
 public:
  explicit ScheduleFree(std::vector<ParameterGroup>&& groups, ScheduleFreeConfig const& config = {});
  void evaluating(bool on) override;

 private:
  void apply(double gradient_scale) override;
  void formula(Element& e) const override;
  void loaded() override;
  void show(bool mean);
  ScheduleFreeConfig config_;
  double* weight_;  // Σ η²
  double share_ = 1;
  bool shows_mean_ = false;
};

}  // namespace heed::optim
