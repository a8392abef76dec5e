// Spectral restricted isometry (Bansal et al., 2018): only the direction in which a matrix is furthest from orthogonal
// is penalised, which they found to train better than the Frobenius form.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// weight·Σ σ_max(WᵀW − I), by two products with a random direction v: |M²v|/|Mv|; of W·Wᵀ where W [O, I] has fewer
/// rows than columns.
class Srip : public WeightPenalty {
 public:
  using Config = WeightPenaltyConfig;
  explicit Srip(Config const& config) : WeightPenalty("srip", config.weight, config.pattern) {}

 protected:
  Tensor measure(std::string const&, Tensor const& w) override {
    Tensor const m = as_matrix(w), tall = m.size(0) < m.size(1) ? m.t() : m;
    auto const times = [&](Tensor const& x) { return mv(tall.t(), mv(tall, x)) - x; };
    Tensor const once = times(randn({tall.size(1)}).to(w.dtype()).to(w.device())), twice = times(once);
    Tensor const length = vector_norm(once);
    return vector_norm(twice) / maximum(length, full_like(length, 1e-12));
  }
};

}  // namespace heed::nn
