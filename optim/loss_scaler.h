// Keeps f16 gradients in range: the loss is multiplied before backward, the gradients are divided at the step.
#pragma once

#include <heed/optim/optimizer.h>

namespace heed::optim {

struct LossScalerOptions {
  double scale = 65536;
  double growth = 2, backoff = 0.5;  // of the scale: after `interval` good steps, and after a step with Inf or NaN
  int64_t interval = 2000;
};

/// Dynamic loss scaling (Micikevicius et al., 2018):
///   scaler.scale(loss).backward();
///   scaler.step(optimizer);   // false: the gradients were not finite, nothing was changed, the scale went down
class LossScaler {
 public:
  explicit LossScaler(LossScalerOptions options = {}, int64_t good_steps = 0);
  Tensor scale(Tensor const& loss) const;
  /// `max_norm` clips the true gradients; 0: off.
  bool step(Optimizer& optimizer, double max_norm = 0);
  /// With the number of good steps since the last change, the whole state.
  LossScalerOptions const& options() const { return options_; }
  int64_t good_steps() const { return good_steps_; }

 private:
  LossScalerOptions options_;
  int64_t good_steps_;
};

}  // namespace heed::optim
