// Penalty of the largest singular value (Yoshida and Miyato, 2017): a layer that amplifies no direction much is robust
// to noise in its inputs. Milder than spectral-norm, which fixes the value.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

#include <map>

namespace heed::nn {

/// ½·weight·Σ σ_max(W)², by power iterations from where the last ended; W as [O, I].
class SpectralPenalty : public WeightPenalty {
 public:
  using Config = WeightPenaltyConfig;
  explicit SpectralPenalty(Config const& config) : WeightPenalty("spectral-penalty", config.weight, config.pattern) {}

 protected:
  Tensor measure(std::string const& name, Tensor const& w) override {
    auto [at, fresh] = directions_.try_emplace(name, first_direction(w));
    return square(largest_singular_value(w, at->second, fresh ? 50 : 2)) * 0.5;
  }

 private:
  std::map<std::string, Tensor> directions_;
};

}  // namespace heed::nn
