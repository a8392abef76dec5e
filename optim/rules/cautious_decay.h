// Cautious decay: weights decay only where the step goes towards 0 too, so that decay never works against the loss.
#pragma once

#include <heed/optim/pointwise.h>
#include <heed/optim/wrapper.h>

namespace heed::optim {

struct CautiousDecayConfig {
  void visit(nn::ConfigVisitor&) {}
};

/// Δ the inner rule's change without decay; θ ← θ + Δ − ηλθ·[Δθ ≤ 0] (Chen et al., 2025).
class CautiousDecay final : public ChangeWrapper {
 public:
  explicit CautiousDecay(std::unique_ptr<Optimizer> inner, CautiousDecayConfig const& = {})
      : ChangeWrapper(std::move(inner)) {}

 private:
  void follow(Tensor p, Tensor const& old, Tensor const& g, double decay) override;
};

}  // namespace heed::optim
