#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/optim/loss_scaler.h>

#include <cmath>

namespace heed::optim {

LossScaler::LossScaler(LossScalerOptions options, int64_t good_steps) : options_(options), good_steps_(good_steps) {
  check(options.scale > 0 && options.growth >= 1 && options.backoff > 0 && options.backoff < 1 && options.interval > 0,
        "LossScaler", [&] {
          return Complaint{
              fmt::format("expected scale > 0, growth >= 1, 0 < backoff < 1, interval > 0, got {}, {}, {}, {}",
                          options.scale, options.growth, options.backoff, options.interval),
              "leave out what should be usual"};
        });
}

Tensor LossScaler::scale(Tensor const& loss) const { return loss.to(Dtype::f32) * options_.scale; }

bool LossScaler::step(Optimizer& optimizer, double max_norm) {
  double const norm = gradient_norm(optimizer.groups()) / options_.scale;
  if (!std::isfinite(norm)) {
    options_.scale *= options_.backoff;
    good_steps_ = 0;
    return false;
  }
  optimizer.step(clip_scale(norm, max_norm) / options_.scale);
  if (++good_steps_ == options_.interval) {
    options_.scale *= options_.growth;
    good_steps_ = 0;
  }
  return true;
}

}  // namespace heed::optim
