// Norms whose scale and shift another tensor decides.
#pragma once

#include <heed/nn/linear.h>
#include <heed/nn/norm.h>

#include <functional>

namespace heed::nn {

/// x + gate(c)·f(LN(x)·(1 + scale(c)) + shift(c)), (shift, scale, gate) = linear(silu(c)) of a condition c [B, K] (a
/// class, a diffusion step); the linear layer starts at 0, so that every branch starts as the identity (DiT: Peebles
/// and Xie, 2023).
class AdaLNZero final : public Norm {
 public:
  AdaLNZero(int64_t dim, int64_t condition_dim, double eps = 1e-6);
  struct Modulation {
    Tensor shift, scale, gate;  // [B, 1, dim]
  };
  Modulation modulation(Tensor const& condition) const;
  Tensor modulated(Tensor const& x, Modulation const& by) const;
  /// The branch, x [B, T, dim].
  Tensor residual(Tensor const& x, Tensor const& condition, std::function<Tensor(Tensor const&)> const& f) const;
  /// What the condition 0 gives.
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override { visitor.child("linear", linear); }
  Linear linear;
  double eps;
};

}  // namespace heed::nn
