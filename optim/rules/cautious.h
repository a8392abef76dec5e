// Cautious: only those changes of any rule that agree with the present gradient. One line that speeds most rules up.
#pragma once

#include <heed/optim/pointwise.h>
#include <heed/optim/wrapper.h>

namespace heed::optim {

struct CautiousConfig {
  double floor = 1e-3;
  void visit(nn::ConfigVisitor& v) { v.field("floor", floor, "least share of elements that the others make up for"); }
};

/// Δ the inner rule's change without decay; θ ← θ(1 − ηλ) + Δ·[Δg < 0]/max(mean [Δg < 0], floor), the mean over each
/// tensor (Liang et al., 2024). Decay is apart from the gradient, whatever it is in the inner rule.
class Cautious final : public ChangeWrapper {
 public:
  explicit Cautious(std::unique_ptr<Optimizer> inner, CautiousConfig const& config = {});

 private:
  void follow(Tensor p, Tensor const& old, Tensor const& g, double decay) override;
  CautiousConfig config_;
};

}  // namespace heed::optim
