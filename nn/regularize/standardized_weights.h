// Weight standardisation (Qiao et al., 2019): rows of mean 0 and variance 1, beside group norm for small batches.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// Layers compute with gain·(W − mean)/√(var + 1e-5), by rows.
class StandardizedWeights : public WeightUse {
 public:
  struct Config {
    double gain = 1;
    std::string pattern = "**";
    void visit(ConfigVisitor& v) {
      v.field("gain", gain, "standard deviation of every row");
      v.field("pattern", pattern, "names of the matrices, ** for any");
    }
  };
  explicit StandardizedWeights(Config const& config)
      : WeightUse(config.pattern, true), gain_(checked_amount("weight-standardization", "gain", config.gain)) {}

 protected:
  Tensor used(std::string_view, Tensor const& w) override {
    return (layer_norm(as_matrix(w)) * gain_).reshape(w.shape());
  }

 private:
  double gain_;
};

}  // namespace heed::nn
