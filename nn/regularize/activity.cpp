#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/activity.h>

#include <cmath>

namespace heed::nn {

Tensor GaussianNoise::changed(ModuleCall const& call) {
  if (deviation_ == 0) return {};
  Tensor const& x = call.output;
  return x + normal(x.shape(), 0, deviation_, x.dtype(), default_generator(), x.device());
}

Tensor EmbeddingNoise::changed(ModuleCall const& call) {
  if (alpha_ == 0) return {};
  Tensor const& x = checked_rank("embedding-noise", call.output, 3, 3, "embeddings [B, T, C]");
  double const reach = alpha_ / std::sqrt(double(x.size(1) * x.size(2)));
  return x + uniform(x.shape(), -reach, reach, x.dtype(), default_generator(), x.device());
}

ActivityPenalty::ActivityPenalty(Config const& config)
    : OutputRegularizer(config.at),
      weight_(config.weight),
      power_(checked_range("activity", config.power, 1, INFINITY)) {}

Tensor ActivityPenalty::changed(ModuleCall const& call) {
  if (weight_ == 0 || !recording()) return {};
  Tensor const& x = call.output;
  Tensor const size = power_ == 2 ? square(x) : power_ == 1 ? abs(x) : pow(abs(x), power_);
  terms_.add(mean(size));
  return {};
}

Tensor ActivityPenalty::penalty(Module&) { return terms_.take(weight_); }

}  // namespace heed::nn
