// Learning-rate schedules: pure functions of the step.
#pragma once

#include <cmath>
#include <cstdint>

namespace heed::optim {

/// Linear from peak/warmup at step 0 to `peak` at step warmup−1, then half a cosine down to `floor` at step `total`,
/// and `floor` after (Loshchilov and Hutter, 2017).
struct WarmupCosine {
  double peak, floor;
  int64_t warmup, total;

  double at(int64_t step) const {
    if (step < warmup) return peak * double(step + 1) / double(warmup);
    if (step >= total) return floor;
    double const share = double(step - warmup) / double(total - warmup);
    return floor + (peak - floor) * 0.5 * (1 + std::cos(3.14159265358979323846 * share));
  }
};

}  // namespace heed::optim
