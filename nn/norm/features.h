// Norms of each position by itself, over its features, beside LayerNorm and RMSNorm (nn/norm.h).
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/norm.h>

namespace heed::nn {

/// g·x/max(|x|, eps), one g for all features, √dim at the start (Nguyen and Salazar, 2019): the radius is learned.
class ScaleNorm final : public Norm {
 public:
  explicit ScaleNorm(int64_t dim, double eps = 1e-5);
  Tensor forward(Tensor const& x) const override { return normalize(x, 2, -1, eps) * g; }
  void visit(Visitor& visitor) override { visitor.parameter("g", g); }
  Tensor g;
  double eps;
};

/// x/max(|x|, eps), without parameters: every position lies on the unit sphere (nGPT: Loshchilov et al., 2024).
class UnitNorm final : public Norm {
 public:
  explicit UnitNorm(double eps = 1e-6) : eps(eps) {}
  Tensor forward(Tensor const& x) const override { return normalize(x, 2, -1, eps); }
  void visit(Visitor&) override {}
  double eps;
};

/// tanh(alpha·x)·weight + bias: no statistics at all (Dynamic Tanh: Zhu et al., 2025).
class DynamicTanh final : public Norm {
 public:
  DynamicTanh(int64_t dim, bool with_bias, double alpha = 0.5);
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override;
  Tensor alpha, weight, bias;
};

/// Of queries or keys [B, H, T, D] before their product: g·x/|x|, one g for all heads (Henry et al., 2020), or
/// x/√(mean x² + eps)·weight (Dehghani et al., 2023). It bounds the scores, so that attention cannot saturate by large
/// norms alone. f(c·x) = f(x) for c > 0.
class QKNorm final : public Norm {
 public:
  enum class Kind { l2, rms };
  QKNorm(int64_t head_dim, Kind kind, double eps = 1e-6);
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override { visitor.parameter("weight", weight); }
  Tensor weight;
  Kind kind;
  double eps;
};

/// x itself: for branches that need no norm (ReZero, Fixup).
class NoNorm final : public Norm {
 public:
  Tensor forward(Tensor const& x) const override { return x; }
  void visit(Visitor&) override {}
};

}  // namespace heed::nn
