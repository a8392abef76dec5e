// Weight normalisation (Salimans and Kingma, 2016): a row's length is learnt apart from its direction, which conditions
// gradients without statistics of a batch.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// Layers compute with g_o·w_o/|w_o| for every row o, g the rows' lengths when training begins.
class WeightNormReparam : public Reparametrization {
 public:
  struct Config {
    double learning_rate = 1e-3;
    std::string pattern = "**";
    void visit(ConfigVisitor& v) {
      v.field("learning_rate", learning_rate, "of the lengths' own Adam; 0: they stay");
      v.field("pattern", pattern, "names of the matrices, ** for any");
    }
  };
  explicit WeightNormReparam(Config const& config)
      : Reparametrization(config.pattern, checked_amount("weight-norm", "learning_rate", config.learning_rate)) {}

 protected:
  Tensor first_gain(Tensor const& w) const override { return vector_norm(as_matrix(w), 2, {1}); }
  Tensor scaled(Entry const& entry, Tensor const& w) const override {
    Tensor const m = as_matrix(w), length = vector_norm(m, 2, {1});
    return (m * (entry.gain / where(length > 0.0, length, 1.0)).unsqueeze(1)).reshape(w.shape());
  }
};

}  // namespace heed::nn
