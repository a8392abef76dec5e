// GaLore: Adam on the few directions of a matrix's gradient that matter: moments of rank·C in place of R·C numbers.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct GaloreConfig {
  double learning_rate = 1e-2, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, scale = 0.25;
  int64_t rank = 32, every = 200;
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
    v.field("scale", scale, "α of a projected step");
    v.field("rank", rank, "directions; matrices with no longer side are AdamW's");
    v.field("every", every, "steps between two choices of the directions");
  }
};

/// P the first `rank` left (of tall matrices: right) singular vectors of g, chosen anew every so often; Adam's m and v
/// of Pᵀg; θ ← θ(1 − ηλ) − ηα·P·m̂/(√v̂ + ε) (Zhao et al., 2024).
class Galore final : public Optimizer {
 public:
  explicit Galore(std::vector<ParameterGroup>&& groups, GaloreConfig const& config = {});

 private:
  void update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double gradient_scale) override;
  GaloreConfig config_;
};

}  // namespace heed::optim
