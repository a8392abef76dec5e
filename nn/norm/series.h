// Norms of time series.
#pragma once

#include <heed/nn/norm.h>

namespace heed::nn {

/// (x − mean)/√(var + eps)·weight + bias of each series' own past, x [B, T, C], and the way back for what a model makes
/// of it: forecasts keep the level and spread of their series (Reversible Instance Normalisation: Kim et al., 2022).
class RevIN final : public Norm {
 public:
  explicit RevIN(int64_t channels, bool affine = true, double eps = 1e-5);
  struct Statistics {
    Tensor mean, deviation;  // [B, 1, C]
  };
  /// Of x [B, T, C].
  Statistics statistics(Tensor const& x) const;
  Tensor normalize(Tensor const& x, Statistics const& of) const;
  /// y [B, T', C] → (y − bias)/weight·deviation + mean
  Tensor denormalize(Tensor const& y, Statistics const& of) const;
  Tensor forward(Tensor const& x) const override { return normalize(x, statistics(x)); }
  void visit(Visitor& visitor) override;
  Tensor weight, bias;
  int64_t channels;
  double eps;
};

}  // namespace heed::nn
