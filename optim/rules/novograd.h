// NovoGrad and Adam-mini: one second moment for a tensor or a row, where Adam keeps one for every weight.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct NovogradConfig {
  double learning_rate = 1e-2, beta1 = 0.95, beta2 = 0.98, eps = 1e-8;
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of normalised gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the squared norm, 0 to below 1");
    v.field("eps", eps, "added to the norm");
  }
};

/// v ← β₂v + (1 − β₂)‖g‖² by tensor (at first ‖g‖²); m ← β₁m + g/(√v + ε) + λθ; θ ← θ − ηm (Ginsburg et al., 2019).
class Novograd final : public Optimizer {
 public:
  explicit Novograd(std::vector<ParameterGroup>&& groups, NovogradConfig const& config = {});

 private:
  void update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double gradient_scale) override;
  NovogradConfig config_;
};

struct AdamMiniConfig {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
  }
};

/// AdamW with v of the mean g² of each output row (of vectors: of the whole): half of its memory (Zhang et al., 2024,
/// with rows for all matrices).
class AdamMini final : public Optimizer {
 public:
  explicit AdamMini(std::vector<ParameterGroup>&& groups, AdamMiniConfig const& config = {});

 private:
  void update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double gradient_scale) override;
  AdamMiniConfig config_;
};

}  // namespace heed::optim
