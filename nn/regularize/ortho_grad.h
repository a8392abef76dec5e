// OrthoGrad (Prieto et al., 2025): gradients at a right angle to the weights. Logits cannot grow by scale alone, which
// is how a model that fits everything stops learning.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/config.h>
#include <heed/nn/hooks.h>
#include <heed/nn/regularize/regularizer.h>

namespace heed::nn {

/// g⊥ = g − ⟨w, g⟩/⟨w, w⟩·w for each parameter of two axes or more, as long as g was.
class OrthoGrad final : public Regularizer {
 public:
  struct Config {
    std::string pattern = "**";
    void visit(ConfigVisitor& v) { v.field("pattern", pattern, "names of the matrices, ** for any"); }
  };
  explicit OrthoGrad(Config const& config) : pattern_(config.pattern) {}
  void gradients(std::vector<NamedTensor> const& parameters) override {
    NoGrad const off;
    for (NamedTensor const& p : parameters) {
      Tensor const g = p.tensor.grad(), w = p.tensor.detach();
      if (!g.defined() || g.rank() < 2 || g.numel() == 0 || !matches(pattern_, p.name)) continue;
      Tensor const across = g - w * (sum(w * g) / clamp_min(sum(w * w), 1e-30));
      p.tensor.set_grad(across * (norm(g) / clamp_min(norm(across), 1e-30)));
    }
  }

 private:
  std::string pattern_;
};

}  // namespace heed::nn
