// Normalisation over the last axis.
#pragma once

#include <heed/nn/module.h>

namespace heed::nn {

/// (x − mean)/√(var + eps)·weight + bias (Ba, Kiros and Hinton, 2016)
class LayerNorm : public Layer<LayerNorm> {
 public:
  explicit LayerNorm(int64_t dim, bool with_bias = true, double eps = 1e-5);
  Tensor forward(Tensor const& x) const;
  void visit(Visitor& visitor) override;

  Tensor weight, bias;
  double eps;
};

/// x/√(mean(x²) + eps)·weight (Zhang and Sennrich, 2019)
class RMSNorm : public Layer<RMSNorm> {
 public:
  explicit RMSNorm(int64_t dim, double eps = 1e-6);
  Tensor forward(Tensor const& x) const;
  void visit(Visitor& visitor) override;

  Tensor weight;
  double eps;
};

}  // namespace heed::nn
