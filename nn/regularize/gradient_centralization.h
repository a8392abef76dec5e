// Gradient centralisation (Yong et al., 2020): a neuron's incoming weights keep their mean. A projection that smooths
// the loss a little; not for embeddings, whose rows are looked up one by one.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/config.h>
#include <heed/nn/hooks.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// g_i − mean g_i for every row of a matrix's gradient, later axes joined.
class GradientCentralization : public Regularizer {
 public:
  struct Config {
    std::string pattern = "**";
    void visit(ConfigVisitor& v) { v.field("pattern", pattern, "names of the matrices, ** for any"); }
  };
  explicit GradientCentralization(Config const& config) : pattern_(config.pattern) {}
  void gradients(std::vector<NamedTensor> const& parameters) override {
    NoGrad const off;
    for (NamedTensor const& p : parameters) {
      Tensor const g = p.tensor.grad();
      if (!g.defined() || g.rank() < 2 || g.numel() == 0 || !matches(pattern_, p.name) ||
          p.name.find("embedding") != p.name.npos)
        continue;
      Tensor const rows = as_matrix(g);
      p.tensor.set_grad((rows - mean(rows, {1}, true)).reshape(g.shape()));
    }
  }

 private:
  std::string pattern_;
};

}  // namespace heed::nn
