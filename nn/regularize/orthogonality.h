// Soft orthogonality (Bansal et al., 2018; Brock et al., 2017): rows (or columns, whichever are fewer) of every matrix
// at right angles and of length 1, so that signals keep their size through depth.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// weight·Σ ‖W·Wᵀ − I‖_F², of Wᵀ where W [O, I] has more rows than columns. 0 for orthogonal W.
class Orthogonality : public WeightPenalty {
 public:
  using Config = WeightPenaltyConfig;
  explicit Orthogonality(Config const& config) : WeightPenalty("orthogonality", config.weight, config.pattern) {}

 protected:
  Tensor measure(std::string const&, Tensor const& w) override {
    Tensor const m = as_matrix(w), narrow = m.size(0) > m.size(1) ? m.t() : m;
    return sum(square(matmul(narrow, narrow.t()) - eye(narrow.size(0), -1, w.dtype(), w.device())));
  }
};

}  // namespace heed::nn
