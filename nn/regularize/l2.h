// L2 (Tikhonov; Hoerl and Kennard, ridge, 1970), coupled: part of the loss, so that momentum and Adam's scaling see it.
// With plain SGD it is decoupled decay by learning rate · weight; with Adam prefer the decay of AdamW (Loshchilov and
// Hutter, 2019).
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// ½·weight·Σ w²: its gradient is weight·w.
class L2 : public WeightPenalty {
 public:
  using Config = WeightPenaltyConfig;
  explicit L2(Config const& config) : WeightPenalty("l2", config.weight, config.pattern) {}

 protected:
  Tensor measure(std::string const&, Tensor const& w) override { return sum(square(w)) * 0.5; }
};

}  // namespace heed::nn
