// SWA (Izmailov et al., 2018): the plain mean of weights along the end of a run lies in a flatter place than its last
// point. For a rate that stays high: with --schedule constant or cyclic.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/regularize/averaged_weights.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// a = the mean of θ after steps start, start + every, …; evaluations see a once there is one.
class Swa : public AveragedWeights {
 public:
  struct Config {
    int64_t start = 1, every = 1;
    void visit(ConfigVisitor& v) {
      v.field("start", start, "first step whose weights count, from 1");
      v.field("every", every, "steps between two that count");
    }
  };
  explicit Swa(Config const& config) : config_(config) {
    checked_amount("swa", "start of 1 or more, less 1", double(config.start - 1));
    checked_amount("swa", "every of 1 or more, less 1", double(config.every - 1));
  }

 protected:
  double share(int64_t step, int64_t count) const override {
    bool const counts = step >= config_.start && (step - config_.start) % config_.every == 0;
    return counts ? 1 / double(count + 1) : 0;
  }

 private:
  Config config_;
};

}  // namespace heed::nn
