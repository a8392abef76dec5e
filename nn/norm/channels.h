// Norms of channels x [N, C, ..], beside those of nn/norm.h.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/norm.h>

namespace heed::nn {

/// max(x/√(mean x² + eps)·weight + bias, tau), the mean over positions, tau learned for each channel: no batch, no
/// centring (Filter Response Normalisation with Thresholded Linear Unit: Singh and Krishnan, 2020). It takes the
/// activation's place.
class FilterResponseNorm final : public Norm {
 public:
  explicit FilterResponseNorm(int64_t channels, double eps = 1e-6);
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override;
  Tensor weight, bias, tau;
  double eps;
};

/// x·σ(v·x)/√(var + eps)·weight + bias, the variance over groups of channels and positions: norm and activation in one
/// (EvoNorm-S0: Liu et al., 2020).
class EvoNormS0 final : public Norm {
 public:
  EvoNormS0(int64_t channels, int64_t groups = 1, double eps = 1e-5);
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override;
  Tensor v, weight, bias;
  int64_t groups;
  double eps;
};

/// x/max(√(var + eps), v·x + √(var of the sample's channel + eps))·weight + bias, the first variance over batch and
/// positions, the running one in evaluation (EvoNorm-B0: Liu et al., 2020).
class EvoNormB0 final : public ChannelNorm {
 public:
  explicit EvoNormB0(ChannelNormConfig const& config);
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override;
  Tensor v;
};

/// weight·(x·|x|_positions/mean_channels |x|) + bias + x: channels compete by their energy; weight and bias start at 0,
/// so that it starts as the identity (Global Response Normalisation: Woo et al., 2023).
class GlobalResponseNorm final : public Norm {
 public:
  explicit GlobalResponseNorm(int64_t channels, double eps = 1e-6);
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override;
  Tensor weight, bias;
  double eps;
};

/// Batch norm whose training corrects the batch's statistics towards the running ones: (x − μ_B)/σ_B·r + d with r =
/// clamp(σ_B/σ, 1/r_max, r_max), d = clamp((μ_B − μ)/σ, ±d_max), no gradient through r and d (Ioffe, 2017): for small
/// batches. r_max = 1, d_max = 0 is batch norm.
class BatchRenorm final : public ChannelNorm {
 public:
  BatchRenorm(ChannelNormConfig const& config, double r_max = 3, double d_max = 5)
      : ChannelNorm(config, 2, 5), r_max(r_max), d_max(d_max) {}
  Tensor forward(Tensor const& x) const override;
  double r_max, d_max;
};

/// x/(k + alpha·m)^beta, m the mean of x² over `size` neighbouring channels (Krizhevsky et al., 2012).
class LocalResponseNorm final : public Norm {
 public:
  explicit LocalResponseNorm(int64_t size, double alpha = 1e-4, double beta = 0.75, double k = 1)
      : size(size), alpha(alpha), beta(beta), k(k) {}
  Tensor forward(Tensor const& x) const override { return local_response_norm(x, size, alpha, beta, k); }
  void visit(Visitor&) override {}
  int64_t size;
  double alpha, beta, k;
};

}  // namespace heed::nn
