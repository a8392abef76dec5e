// Normalisation: over the last axis, over groups of channels, over batches.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/module.h>

#include <optional>
#include <utility>

namespace heed::nn {

/// What keeps a tensor's shape and sets its scale.
class Norm : public Layer<Norm> {
 public:
  virtual Tensor forward(Tensor const& x) const = 0;
};

/// (x − mean)/√(var + eps)·weight + bias (Ba, Kiros and Hinton, 2016)
class LayerNorm : public Norm {
 public:
  explicit LayerNorm(int64_t dim, bool with_bias = true, double eps = 1e-5);
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override;

  Tensor weight, bias;
  double eps;
};

/// x/√(mean(x²) + eps)·weight (Zhang and Sennrich, 2019). With unit_offset the factor is 1 + weight, weight starts at
/// 0, and the sum is made in f32, so that 16-bit weights keep their digits (Gemma Team, 2024).
class RMSNorm : public Norm {
 public:
  explicit RMSNorm(int64_t dim, double eps = 1e-6, bool unit_offset = false);
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override;

  Tensor weight;
  double eps;
  bool unit_offset;
};

/// group_norm of x [N, C, ..] with a scale for each channel (Wu and He, 2018)
class GroupNorm : public Norm {
 public:
  GroupNorm(int64_t groups, int64_t channels, bool affine = true, double eps = 1e-5);
  Tensor forward(Tensor const& x) const override;
  void visit(Visitor& visitor) override;

  Tensor weight, bias;
  int64_t groups;
  double eps;
};

struct ChannelNormConfig {
  int64_t channels = 1;
  double eps = 1e-5;
  std::optional<double> momentum = 0.1;  // share of the present batch in the running statistics; none: their average
  bool affine = true;                    // with weight and bias
  bool track_running_stats = true;
};

/// What batch and instance norm share: parameters, and running statistics as buffers.
class ChannelNorm : public Norm {
 public:
  ChannelNorm(ChannelNormConfig const& config, int min_rank, int max_rank);
  void visit(Visitor& visitor) override;

  ChannelNormConfig config;
  Tensor weight, bias;
  Tensor running_mean, running_var;
  Tensor num_batches_tracked;  // i64, as PyTorch counts them

 protected:
  /// What the op is told, after the shape was checked and a training batch counted.
  BatchNormOptions options_for(char const* name, Tensor const& x) const;
  int min_rank_, max_rank_;
};

/// batch_norm with statistics of the batch in training, the running ones in evaluation (Ioffe and Szegedy, 2015): x
/// [N, C] or [N, C, L].
class BatchNorm : public ChannelNorm {
 public:
  using ChannelNorm::ChannelNorm;
  Tensor forward(Tensor const& x) const override;
};
struct BatchNorm1d : BatchNorm {
  explicit BatchNorm1d(ChannelNormConfig const& config) : BatchNorm(config, 2, 3) {}
};
/// x [N, C, H, W]
struct BatchNorm2d : BatchNorm {
  explicit BatchNorm2d(ChannelNormConfig const& config) : BatchNorm(config, 4, 4) {}
};
/// x [N, C, D, H, W]
struct BatchNorm3d : BatchNorm {
  explicit BatchNorm3d(ChannelNormConfig const& config) : BatchNorm(config, 5, 5) {}
};

/// instance_norm (Ulyanov et al., 2016); PyTorch's layer has neither parameters nor running statistics by default. x
/// [N, C, L] or [C, L].
class InstanceNorm : public ChannelNorm {
 public:
  using ChannelNorm::ChannelNorm;
  Tensor forward(Tensor const& x) const override;
};
struct InstanceNorm1d : InstanceNorm {
  explicit InstanceNorm1d(ChannelNormConfig const& config) : InstanceNorm(config, 2, 3) {}
};
/// x [N, C, H, W] or [C, H, W]
struct InstanceNorm2d : InstanceNorm {
  explicit InstanceNorm2d(ChannelNormConfig const& config) : InstanceNorm(config, 3, 4) {}
};
/// x [N, C, D, H, W] or [C, D, H, W]
struct InstanceNorm3d : InstanceNorm {
  explicit InstanceNorm3d(ChannelNormConfig const& config) : InstanceNorm(config, 4, 5) {}
};

/// Weight and bias with which a linear layer or convolution gives what it and then `norm` give in evaluation: weight
/// [C, ..]·γ/√(running_var + eps), and (bias − running_mean)·γ/√(running_var + eps) + β. `bias` may be undefined.
std::pair<Tensor, Tensor> folded(Tensor const& weight, Tensor const& bias, BatchNorm const& norm);

}  // namespace heed::nn
