#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <heed/nn/norm.h>
#include <heed/nn/norm/spread_rows.h>

namespace heed::nn {

LayerNorm::LayerNorm(int64_t dim, bool with_bias, double eps) : weight(ones({dim}).requires_grad_()), eps(eps) {
  if (with_bias) bias = zeros({dim}).requires_grad_();
}
Tensor LayerNorm::forward(Tensor const& x) const { return layer_norm(x, weight, bias, eps); }
void LayerNorm::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

RMSNorm::RMSNorm(int64_t dim, double eps, bool unit_offset)
    : weight(full({dim}, unit_offset ? 0.0 : 1.0).requires_grad_()), eps(eps), unit_offset(unit_offset) {}
Tensor RMSNorm::forward(Tensor const& x) const {
  if (!unit_offset) return rms_norm(x, weight, eps);
  bool const wide = weight.dtype() == Dtype::f64;
  return rms_norm(x, (wide ? weight : weight.to(Dtype::f32)) + 1.0, eps).to(x.dtype());
}
void RMSNorm::visit(Visitor& visitor) { visitor.parameter("weight", weight); }

GroupNorm::GroupNorm(int64_t groups, int64_t channels, bool affine, double eps) : groups(groups), eps(eps) {
  check(groups >= 1 && channels >= 1 && channels % groups == 0, "GroupNorm", [&] {
    return Complaint{fmt::format("{} channels do not make {} groups", channels, groups),
                     "pass a divisor of the number of channels"};
  });
  if (!affine) return;
  weight = ones({channels}).requires_grad_();
  bias = zeros({channels}).requires_grad_();
}
Tensor GroupNorm::forward(Tensor const& x) const { return group_norm(x, groups, weight, bias, eps); }
void GroupNorm::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

ChannelNorm::ChannelNorm(ChannelNormConfig const& config, int min_rank, int max_rank)
    : config(config), min_rank_(min_rank), max_rank_(max_rank) {
  check(config.channels >= 1, "ChannelNorm", [&] {
    return Complaint{fmt::format("expected a positive number of channels, got {}", config.channels),
                     "pass the size of axis 1"};
  });
  if (config.affine) {
    weight = ones({config.channels}).requires_grad_();
    bias = zeros({config.channels}).requires_grad_();
  }
  if (!config.track_running_stats) return;
  running_mean = zeros({config.channels});
  running_var = ones({config.channels});
  num_batches_tracked = zeros({}, Dtype::i64);
}

void ChannelNorm::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
  if (!running_mean.defined()) return;
  visitor.buffer("running_mean", running_mean);
  visitor.buffer("running_var", running_var);
  visitor.buffer("num_batches_tracked", num_batches_tracked);
}

BatchNormOptions ChannelNorm::options_for(char const* name, Tensor const& x) const {
  check_defined(name, x);
  check(x.rank() >= min_rank_ && x.rank() <= max_rank_, name, [&] {
    return Complaint{
        fmt::format("expected {} to {} axes, got x of shape {}", min_rank_, max_rank_, to_string(x.shape())),
        "use the layer for this number of axes"};
  });
  bool const own = training() || !running_mean.defined();
  if (training() && num_batches_tracked.defined() && !recomputing()) {
    NoGrad const off;
    Tensor(num_batches_tracked).add_(ones({}, Dtype::i64));
  }
  double momentum = config.momentum.value_or(0);
  if (!config.momentum && training() && num_batches_tracked.defined()) momentum = 1 / num_batches_tracked.item();
  return {.training = own, .momentum = momentum, .eps = config.eps};
}

Tensor BatchNorm::forward(Tensor const& x) const {
  auto const options = options_for("BatchNorm", x);
  return batch_normed(*this, x, weight, bias, options);
}

std::pair<Tensor, Tensor> folded(Tensor const& weight, Tensor const& bias, BatchNorm const& norm) {
  check(norm.running_mean.defined() && weight.defined() && weight.rank() >= 2 && weight.size(0) == norm.config.channels,
        "folded", [&] {
          return Complaint{fmt::format("expected a weight [{}, ..] and a norm with running statistics, got {}",
                                       norm.config.channels, weight.defined() ? to_string(weight.shape()) : "none"),
                           "pass the layer before the norm"};
        });
  Tensor factor = rsqrt(norm.running_var + norm.config.eps), shift = -norm.running_mean * factor;
  if (norm.weight.defined()) {
    factor = factor * norm.weight;
    shift = norm.bias - norm.running_mean * factor;
  }
  if (bias.defined()) shift = shift + bias * factor;
  Shape columns = Shape::filled(weight.rank(), 1);
  columns[0] = -1;
  return {weight * factor.reshape(columns), shift};
}

Tensor InstanceNorm::forward(Tensor const& x) const {
  auto const options = options_for("InstanceNorm", x);
  if (x.rank() == max_rank_) return instance_norm(x, running_mean, running_var, weight, bias, options);
  return instance_norm(x.unsqueeze(0), running_mean, running_var, weight, bias, options).squeeze(0);
}

}  // namespace heed::nn
