// Modern Hopfield networks.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>

namespace heed::nn {

/// ξ ← softmax(β·ξ·Kᵀ)·K, `steps` − 1 times from ξ = q, then softmax(β·ξ·Kᵀ)·V: the update of a continuous Hopfield
/// network, of which attention is the first step (Ramsauer et al., "Hopfield networks is all you need", 2021). It
/// retrieves: queries move to the stored keys they are near; a large β separates, a small one averages. `steps` times
/// attention's time and memory. Masks and scores hold in every step.
class Hopfield final : public Part {
 public:
  struct Config {
    int64_t steps = 2;
    double beta = 0;
    void visit(ConfigVisitor& v) {
      v.field("steps", steps, "updates, the last included");
      v.field("beta", beta, "inverse temperature; 0: 1/√D");
    }
  };
  Hopfield(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "hopfield", "count of steps", own_.steps);
  }
  Attended weigh(HeadOperands const& given, CoreStep const& next) const override {
    HeadOperands o = given;
    if (own_.beta != 0) o.options.scale = own_.beta;
    o.v = o.k;
    for (int64_t step = 1; step < own_.steps; ++step) o.q = next(o).out;
    o.v = given.v;
    return next(o);
  }

 private:
  Config own_;
};

}  // namespace heed::nn
