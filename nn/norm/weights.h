// Norms of weights [O, ..]: forward() takes a weight and gives the one to compute with.
#pragma once

#include <heed/nn/norm.h>

namespace heed::nn {

/// W/σ, σ the largest singular value of W as [O, I], by `steps` power iterations a training pass from where the last
/// ended; u and v, its singular vectors, have no gradient (Miyato et al., 2018). A layer of weight W/σ is 1-Lipschitz.
class SpectralNorm final : public Norm {
 public:
  explicit SpectralNorm(int64_t out, int64_t steps = 1, double eps = 1e-12);
  Tensor forward(Tensor const& weight) const override;
  void visit(Visitor& visitor) override { visitor.buffer("u", u); }
  Tensor u;  // [O]
  int64_t steps;
  double eps;
};

/// g·W/|W|, rows' lengths g apart from their directions (Salimans and Kingma, 2016).
class WeightNorm final : public Norm {
 public:
  explicit WeightNorm(int64_t out);
  /// With g the lengths that `weight` has.
  explicit WeightNorm(Tensor const& weight);
  Tensor forward(Tensor const& weight) const override;
  void visit(Visitor& visitor) override { visitor.parameter("g", g); }
  Tensor g;  // [O]
};

/// (W − mean)/√(var + eps) over each row's inputs (Qiao et al., 2019), with group norm for small batches.
class WeightStandardization final : public Norm {
 public:
  explicit WeightStandardization(double eps = 1e-5) : eps(eps) {}
  Tensor forward(Tensor const& weight) const override;
  void visit(Visitor&) override {}
  double eps;
};

}  // namespace heed::nn
