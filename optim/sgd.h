// Stochastic gradient descent with momentum.
#pragma once

#include <heed/optim/optimizer.h>

namespace heed::optim {

struct SGDOptions {
  double learning_rate = 1e-2;
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
};

/// g ← g + λθ; b ← μb + (1 − d)g (the first b is g); θ ← θ − η·(nesterov ? g + μb : b) (Sutskever et al., 2013)
class SGD final : public Optimizer {
 public:
  SGD(std::vector<ParameterGroup> groups, SGDOptions const& options);

 private:
  void update(Tensor const& parameter, Tensor const& gradient, size_t index, ParameterGroup const& group, double rate,
              double gradient_scale) override;
  SGDOptions options_;
};

}  // namespace heed::optim
