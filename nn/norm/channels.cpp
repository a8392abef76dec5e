#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <heed/nn/norm/channels.h>
#include <heed/nn/norm/spread_rows.h>

namespace heed::nn {
namespace {

/// The axes of positions; an Error unless x is [N, C, ..] with some.
Dims positions_of(char const* name, Tensor const& x, int64_t channels) {
  check_defined(name, x);
  check(x.rank() >= 3 && x.size(1) == channels, name, [&] {
    return Complaint{fmt::format("expected x [N, {}, ..], got {}", channels, to_string(x.shape())),
                     "move the channels to axis 1, and keep an axis of positions"};
  });
  Dims axes;
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  return axes;
}

Tensor parameter(int64_t channels, double value) { return full({channels}, value).requires_grad_(); }

}  // namespace

FilterResponseNorm::FilterResponseNorm(int64_t channels, double eps)
    : weight(parameter(channels, 1)), bias(parameter(channels, 0)), tau(parameter(channels, 0)), eps(eps) {}
Tensor FilterResponseNorm::forward(Tensor const& x) const {
  Dims const axes = positions_of("FilterResponseNorm", x, weight.size(0));
  Tensor const y = x * rsqrt(mean(square(x), axes, true) + eps);
  return maximum(y * by_channel(weight, x) + by_channel(bias, x), by_channel(tau, x));
}
void FilterResponseNorm::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
  visitor.parameter("tau", tau);
}

EvoNormS0::EvoNormS0(int64_t channels, int64_t groups, double eps)
    : v(parameter(channels, 1)),
      weight(parameter(channels, 1)),
      bias(parameter(channels, 0)),
      groups(groups),
      eps(eps) {
  check(groups >= 1 && channels % groups == 0, "EvoNormS0", [&] {
    return Complaint{fmt::format("{} channels do not make {} groups", channels, groups),
                     "pass a divisor of the number of channels"};
  });
}
Tensor EvoNormS0::forward(Tensor const& x) const {
  positions_of("EvoNormS0", x, weight.size(0));
  Tensor const grouped = unflatten(x, 1, {groups, -1});
  Dims axes;
  for (int i = 2; i < grouped.rank(); ++i) axes.push_back(i);
  Tensor const scale = rsqrt(var(grouped, axes, 0, true) + eps);
  Tensor const y = (unflatten(x * sigmoid(x * by_channel(v, x)), 1, {groups, -1}) * scale).reshape(x.shape());
  return y * by_channel(weight, x) + by_channel(bias, x);
}
void EvoNormS0::visit(Visitor& visitor) {
  visitor.parameter("v", v);
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

EvoNormB0::EvoNormB0(ChannelNormConfig const& config) : ChannelNorm(config, 3, 5), v(parameter(config.channels, 1)) {}
Tensor EvoNormB0::forward(Tensor const& x) const {
  Dims const positions = positions_of("EvoNormB0", x, config.channels);
  BatchNormOptions const options = options_for("EvoNormB0", x);
  Tensor variance = running_var;
  if (options.training) {
    auto const moments = batch_moments(*this, x);
    variance = moments.var.flatten();
    if (running_var.defined() && !recomputing()) {
      NoGrad const off;
      Tensor(running_var)
          .copy_(lerp(running_var, variance * (moments.count / std::max(moments.count - 1, 1.)), options.momentum));
    }
  }
  Tensor const whole = sqrt(by_channel(variance, x) + options.eps),
               own = sqrt(var(x, positions, 0, true) + options.eps);
  Tensor const y = x / maximum(whole, x * by_channel(v, x) + own);
  return weight.defined() ? y * by_channel(weight, x) + by_channel(bias, x) : y;
}
void EvoNormB0::visit(Visitor& visitor) {
  ChannelNorm::visit(visitor);
  visitor.parameter("v", v);
}

GlobalResponseNorm::GlobalResponseNorm(int64_t channels, double eps)
    : weight(parameter(channels, 0)), bias(parameter(channels, 0)), eps(eps) {}
Tensor GlobalResponseNorm::forward(Tensor const& x) const {
  Tensor const energy = vector_norm(x, 2, positions_of("GlobalResponseNorm", x, weight.size(0)), true);
  Tensor const share = energy / (mean(energy, {1}, true) + eps);
  return x * share * by_channel(weight, x) + by_channel(bias, x) + x;
}
void GlobalResponseNorm::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

Tensor BatchRenorm::forward(Tensor const& x) const {
  check(config.track_running_stats, "BatchRenorm", [] {
    return Complaint{"it corrects towards running statistics, which are off", "turn track_running_stats on"};
  });
  check(!recomputing(), "BatchRenorm", [] {
    return Complaint{"it computes with running statistics that the first run of recompute() has changed",
                     "leave the layer outside of recompute()"};
  });
  BatchNormOptions const options = options_for("BatchRenorm", x);
  if (!options.training) return batch_norm(x, running_mean, running_var, weight, bias, options);
  Tensor factor, shift;
  {
    NoGrad const off;
    auto const moments = batch_moments(*this, x);
    Tensor const variance = moments.var.flatten(), middle = moments.mean.flatten();
    Tensor const running = sqrt(running_var + options.eps);
    factor = clamp(sqrt(variance + options.eps) / running, 1 / r_max, r_max);
    shift = clamp((middle - running_mean) / running, -d_max, d_max);
  }
  Tensor const y = batch_normed(*this, x, {}, {}, options);
  Tensor const corrected = y * by_channel(factor, x) + by_channel(shift, x);
  return weight.defined() ? corrected * by_channel(weight, x) + by_channel(bias, x) : corrected;
}

}  // namespace heed::nn
