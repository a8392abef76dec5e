// DropConnect (Wan et al., 2013; of recurrent weights: Merity et al., 2018): weights are dropped in place of
// activations, the same ones for the whole batch.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// Layers compute with W∘keep/(1 − p), keep ~ Bernoulli(1 − p), while they train.
class DropConnect : public WeightUse {
 public:
  struct Config {
    double p = 0.1;
    std::string pattern = "**";
    void visit(ConfigVisitor& v) {
      v.field("p", p, "share of the weights that is dropped, 0 to below 1");
      v.field("pattern", pattern, "names of the matrices, ** for any");
    }
  };
  explicit DropConnect(Config const& config)
      : WeightUse(config.pattern, false),
        p_(checked_amount("dropconnect", "p below 1, and", config.p < 1 ? config.p : -1)) {}

 protected:
  Tensor used(std::string_view, Tensor const& w) override { return p_ > 0 ? dropout(w, p_) : Tensor(); }

 private:
  double p_;
};

}  // namespace heed::nn
