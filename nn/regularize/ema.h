// EMA of weights (Polyak and Juditsky, 1992; Tarvainen and Valpola, 2017): the noise of the last steps is averaged out.
// Costs two copies of the weights; nearly always worth it at the end of a run with a high rate.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/regularize/averaged_weights.h>
#include <heed/nn/regularize/weight_regularizer.h>

#include <algorithm>

namespace heed::nn {

/// a ← d·a + (1 − d)·θ after every step, d = min(decay, (1 + t)/(10 + t)); evaluations see a. Decay 0: the weights.
class WeightEma : public AveragedWeights {
 public:
  struct Config {
    double decay = 0.999;
    void visit(ConfigVisitor& v) { v.field("decay", decay, "what is kept of the average at a step, 0 to below 1"); }
  };
  explicit WeightEma(Config const& config) : decay_(checked_amount("ema", "decay", config.decay)) {
    checked_amount("ema", "distance of the decay to 1", 1 - decay_);
  }

 protected:
  double share(int64_t, int64_t count) const override {
    return 1 - std::min(decay_, double(1 + count) / double(10 + count));
  }

 private:
  double decay_;
};

}  // namespace heed::nn
