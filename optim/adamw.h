// Adam with decoupled weight decay.
#pragma once

#include <heed/optim/optimizer.h>

namespace heed::optim {

struct AdamWOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
};

/// θ ← θ·(1 − ηλ) − η·m̂/(√v̂ + ε), m and v the moving means of g and g², m̂ and v̂ corrected for their start at zero
/// (Kingma and Ba, 2015; Loshchilov and Hutter, 2019). λ is the group's weight decay.
class AdamW final : public Optimizer {
 public:
  AdamW(std::vector<ParameterGroup> groups, AdamWOptions const& options);

 private:
  void update(Tensor const& parameter, Tensor const& gradient, size_t index, ParameterGroup const& group, double rate,
              double gradient_scale) override;
  AdamWOptions options_;
};

}  // namespace heed::optim
