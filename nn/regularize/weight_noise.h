// Gaussian noise on weights (Graves, 2011; An, 1996): training finds weights whose neighbourhood does as well, wide
// minima. Old and still the best-known regulariser of recurrent networks for speech.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// Layers compute with W + deviation·n, n ~ N(0, 1) drawn for every use, while they train.
class WeightNoise : public WeightUse {
 public:
  struct Config {
    double deviation = 0.01;
    std::string pattern = "**";
    void visit(ConfigVisitor& v) {
      v.field("deviation", deviation, "standard deviation of the noise");
      v.field("pattern", pattern, "names of the matrices, ** for any");
    }
  };
  explicit WeightNoise(Config const& config)
      : WeightUse(config.pattern, false), deviation_(checked_amount("weight-noise", "deviation", config.deviation)) {}

 protected:
  Tensor used(std::string_view, Tensor const& w) override {
    if (deviation_ == 0) return {};
    return w + randn(w.shape()).to(w.dtype()).to(w.device()) * deviation_;
  }

 private:
  double deviation_;
};

}  // namespace heed::nn
