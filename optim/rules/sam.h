// SAM: the gradient where the loss is worst nearby, so that flat minima are found. Two evaluations a step.
#pragma once

#include <heed/optim/pointwise.h>
#include <heed/optim/wrapper.h>

namespace heed::optim {

struct SAMConfig {
  double radius = 0.05, gap = 0;
  bool adaptive = false;
  void visit(nn::ConfigVisitor& v) {
    v.field("radius", radius, "ρ; 0: the inner rule");
    v.field("gap", gap, "α of GSAM: how much of the gap between both losses is followed as well, 0.1 or so");
    v.field("adaptive", adaptive, "ASAM: in units of the weights, where 0.5 to 2 is usual");
  }
};

/// e = ρ·g/‖g‖ over all parameters; the inner rule steps from θ by the gradient at θ + e (Foret et al., 2021).
/// Adaptive: e = ρ·θ²g/‖θg‖ (Kwon et al., 2021). GSAM: that gradient less α times what g has at a right angle to it
/// (Zhuang et al., 2022).
class SAM final : public Wrapper {
 public:
  explicit SAM(std::unique_ptr<Optimizer> inner, SAMConfig const& config = {});

 private:
  void apply(double gradient_scale) override;
  Evaluation search(Closure const& closure) override;
  void close_gap(std::vector<Tensor> const& here);
  SAMConfig config_;
};

}  // namespace heed::optim
