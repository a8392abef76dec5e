// Layer norm and RMS norm over the last axis.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/norm.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

void check_scale(char const* op, char const* what, Tensor const& x, Tensor const& scale) {
  check(!scale.defined() || (scale.shape() == Shape{x.size(-1)} && scale.dtype() == x.dtype()), op, [&] {
    return Complaint{fmt::format("expected {} of shape [{}] {} for x of shape {}, got {} {}", what, x.size(-1),
                                 name(x.dtype()), to_string(x.shape()), to_string(scale.shape()), name(scale.dtype())),
                     "make it as long as the last axis of x, and of x's type"};
  });
}

/// The kernels want weight and bias contiguous.
Tensor whole(Tensor const& t) { return t.defined() ? t.contiguous() : t; }

void check_input(char const* op, Tensor const& x) {
  check_defined(op, x);
  check(x.rank() >= 1, op, [] { return Complaint{"expected at least one axis, got a scalar", "pass [.., C]"}; });
}

template <class T>
T* data_or_null(Tensor const& t) {
  return t.defined() ? t.address<T>() : nullptr;
}

Tensor like_if(bool wanted, Tensor const& t) { return wanted ? Tensor(t.shape(), t.dtype(), t.device()) : Tensor(); }

}  // namespace

Tensor layer_norm(Tensor const& x, Tensor const& weight_in, Tensor const& bias_in, double eps) {
  check_input("layer_norm", x);
  if (autocast_wide(x.dtype()) != x.dtype()) return layer_norm(x.to(Dtype::f32), weight_in, bias_in, eps);
  check_scale("layer_norm", "weight", x, weight_in);
  check_scale("layer_norm", "bias", x, bias_in);
  if (is_half(x.dtype())) return layer_norm(widened(x), widened(weight_in), widened(bias_in), eps).to(x.dtype());
  Tensor const from = x.contiguous(), weight = whole(weight_in), bias = whole(bias_in);
  int64_t const n = x.size(-1), rows = n ? x.numel() / n : 0;
  Device const device = common_device("layer_norm", {&from, &weight, &bias});
  Tensor y(x.shape(), x.dtype(), device), mean({rows}, x.dtype(), device), rstd({rows}, x.dtype(), device);
  Observed const watch("layer_norm", {&from, &weight, &bias}, {&y, &mean, &rstd});
  dispatch_floating("layer_norm", x.dtype(), [&]<class T>(Type<T>) {
    kernels<NormKernels>(device, "layer_norm")
        .of<T>()
        .layer_norm(from.address<T>(), data_or_null<T>(weight), data_or_null<T>(bias), eps, y.address<T>(),
                    mean.address<T>(), rstd.address<T>(), rows, n);
  });
  if (tracked(x, weight, bias))
    record("layer_norm", y, {&from, &weight, &bias},
           [x = Saved(from), weight = Saved(weight), bias = Saved(bias), mean = Saved(mean), rstd = Saved(rstd), eps,
            rows, n](Tensor const& g, Node const& node) -> std::array<Tensor, 3> {
             Tensor const& from = x.get(node);
             Tensor const& scale = weight.get(node);
             if (recording()) {
               auto const in = twin_inputs({from, scale, bias.get(node)});
               auto const d = twin_gradients({naive::layer_norm(in[0], in[1], in[2], eps)}, in, {g});
               return {d[0], d[1], d[2]};
             }
             Tensor const gradient = g.contiguous();
             Tensor dx = like_if(node.needs(0), from), dweight = like_if(node.needs(1), scale),
                    dbias = like_if(node.needs(2), bias.get(node));
             Observed const watch("layer_norm", {&gradient, &from, &scale}, {&dx, &dweight, &dbias});
             dispatch_floating("layer_norm", from.dtype(), [&]<class T>(Type<T>) {
               kernels<NormKernels>(from.device(), "layer_norm")
                   .of<T>()
                   .layer_norm_backward(gradient.address<T>(), from.address<T>(), data_or_null<T>(scale),
                                        mean.get(node).address<T>(), rstd.get(node).address<T>(), data_or_null<T>(dx),
                                        data_or_null<T>(dweight), data_or_null<T>(dbias), rows, n);
             });
             return {dx, dweight, dbias};
           });
  return y;
}

Tensor rms_norm(Tensor const& x, Tensor const& weight_in, double eps) {
  check_input("rms_norm", x);
  if (autocast_wide(x.dtype()) != x.dtype()) return rms_norm(x.to(Dtype::f32), weight_in, eps);
  check_scale("rms_norm", "weight", x, weight_in);
  if (is_half(x.dtype())) return rms_norm(widened(x), widened(weight_in), eps).to(x.dtype());
  Tensor const from = x.contiguous(), weight = whole(weight_in);
  int64_t const n = x.size(-1), rows = n ? x.numel() / n : 0;
  Device const device = common_device("rms_norm", {&from, &weight});
  Tensor y(x.shape(), x.dtype(), device), rstd({rows}, x.dtype(), device);
  Observed const watch("rms_norm", {&from, &weight}, {&y, &rstd});
  dispatch_floating("rms_norm", x.dtype(), [&]<class T>(Type<T>) {
    kernels<NormKernels>(device, "rms_norm")
        .of<T>()
        .rms_norm(from.address<T>(), data_or_null<T>(weight), eps, y.address<T>(), rstd.address<T>(), rows, n);
  });
  if (tracked(x, weight))
    record("rms_norm", y, {&from, &weight},
           [x = Saved(from), weight = Saved(weight), rstd = Saved(rstd), eps, rows, n](
               Tensor const& g, Node const& node) -> std::array<Tensor, 2> {
             Tensor const& from = x.get(node);
             Tensor const& scale = weight.get(node);
             if (recording()) {
               auto const in = twin_inputs({from, scale});
               auto const d = twin_gradients({naive::rms_norm(in[0], in[1], eps)}, in, {g});
               return {d[0], d[1]};
             }
             Tensor const gradient = g.contiguous();
             Tensor dx = like_if(node.needs(0), from), dweight = like_if(node.needs(1), scale);
             Observed const watch("rms_norm", {&gradient, &from, &scale}, {&dx, &dweight});
             dispatch_floating("rms_norm", from.dtype(), [&]<class T>(Type<T>) {
               kernels<NormKernels>(from.device(), "rms_norm")
                   .of<T>()
                   .rms_norm_backward(gradient.address<T>(), from.address<T>(), data_or_null<T>(scale),
                                      rstd.get(node).address<T>(), data_or_null<T>(dx), data_or_null<T>(dweight), rows,
                                      n);
             });
             return {dx, dweight};
           });
  return y;
}

namespace {

/// x with its last axes, of sizes `normalized`, as one; an Error where they are others.
Tensor last_axes_as_one(char const* op, Tensor const& x, Shape const& normalized) {
  check_defined(op, x);
  int const k = normalized.rank(), lead = x.rank() - k;
  bool fits = k >= 1 && lead >= 0;
  for (int a = 0; fits && a < k; ++a) fits = normalized[a] == x.shape()[lead + a];
  check(fits, op, [&] {
    return Complaint{fmt::format("the last axes of {} are not {}", to_string(x.shape()), to_string(normalized)),
                     "pass the sizes of one or more last axes of x"};
  });
  Shape shape;
  for (int a = 0; a < lead; ++a) shape.push_back(x.shape()[a]);
  shape.push_back(numel(normalized));
  return x.reshape(shape);
}

Tensor flat_scale(char const* op, char const* what, Tensor const& scale, Shape const& normalized) {
  check(!scale.defined() || scale.shape() == normalized, op, [&] {
    return Complaint{
        fmt::format("expected {} of shape {}, got {}", what, to_string(normalized), to_string(scale.shape())),
        "give it the shape of the normalised axes"};
  });
  return scale.defined() ? scale.reshape({scale.numel()}) : scale;
}

/// `t` [C] as [C, 1, ..], to broadcast with x [N, C, ..].
Tensor by_channel(Tensor const& t, Tensor const& x) {
  Shape shape = Dims::filled(x.rank() - 1, 1);
  shape[0] = t.numel();
  return t.reshape(shape);
}

Tensor scaled(Tensor y, Tensor const& weight, Tensor const& bias) {
  if (weight.defined()) y = y * by_channel(weight, y);
  return bias.defined() ? y + by_channel(bias, y) : y;
}

void check_channels(char const* op, Tensor const& x, std::initializer_list<Tensor> scales) {
  check_defined(op, x);
  check(x.rank() >= 2, op, [&] {
    return Complaint{fmt::format("expected x [N, C, ..], got {}", to_string(x.shape())), "put the channels on axis 1"};
  });
  for (Tensor const& scale : scales)
    check(!scale.defined() || scale.shape() == Shape{x.size(1)}, op, [&] {
      return Complaint{fmt::format("expected weight, bias and statistics of shape [{}] for x of shape {}, got {}",
                                   x.size(1), to_string(x.shape()), to_string(scale.shape())),
                       "give one number for each channel"};
    });
}

/// running = (1 − momentum)·running + momentum·now
void update(Tensor const& running, Tensor const& now, double momentum) {
  if (!running.defined()) return;
  Tensor(running).copy_(running.detach() * (1 - momentum) + now.to(running.dtype()) * momentum);
}

/// The specification of batch_norm: layer norm of each channel's row.
Tensor composed_batch_norm(Tensor const& x, Tensor const& weight, Tensor const& bias, double eps) {
  Tensor const swapped = x.transpose(0, 1).contiguous();
  int64_t const channels = x.size(1);
  Tensor const y = layer_norm(swapped.reshape({channels, x.numel() / channels}), {}, {}, eps);
  return scaled(y.reshape(swapped.shape()).transpose(0, 1), weight, bias);
}

struct BatchNormed {
  Tensor y, mean, var;
};
/// The same by a kernel that reads x where it is, with the statistics that it took.
BatchNormed fused_batch_norm(Tensor const& x, Tensor const& weight_in, Tensor const& bias_in, double eps) {
  Tensor const from = x.contiguous(), weight = whole(weight_in), bias = whole(bias_in);
  int64_t const batch = x.size(0), channels = x.size(1), n = x.numel() / (batch * channels);
  Device const device = common_device("batch_norm", {&from, &weight, &bias});
  Tensor y(x.shape(), x.dtype(), device), mean({channels}, x.dtype(), device), var({channels}, x.dtype(), device);
  Observed const watch("batch_norm", {&from, &weight, &bias}, {&y, &mean, &var});
  dispatch_floating("batch_norm", x.dtype(), [&]<class T>(Type<T>) {
    kernels<NormKernels>(device, "batch_norm")
        .of<T>()
        .batch_norm(from.address<T>(), data_or_null<T>(weight), data_or_null<T>(bias), eps, y.address<T>(),
                    mean.address<T>(), var.address<T>(), batch, channels, n);
  });
  if (tracked(x, weight, bias))
    record("batch_norm", y, {&from, &weight, &bias},
           [x = Saved(from), weight = Saved(weight), bias = Saved(bias), mean = Saved(mean), var = Saved(var), eps,
            batch, channels, n](Tensor const& g, Node const& node) -> std::array<Tensor, 3> {
             Tensor const& from = x.get(node);
             Tensor const& scale = weight.get(node);
             if (recording()) {
               auto const in = twin_inputs({from, scale, bias.get(node)});
               auto const d = twin_gradients({composed_batch_norm(in[0], in[1], in[2], eps)}, in, {g});
               return {d[0], d[1], d[2]};
             }
             Tensor const gradient = g.contiguous();
             Tensor dx = like_if(node.needs(0), from), dweight = like_if(node.needs(1), scale),
                    dbias = like_if(node.needs(2), bias.get(node));
             Observed const watch("batch_norm", {&gradient, &from, &scale}, {&dx, &dweight, &dbias});
             dispatch_floating("batch_norm", from.dtype(), [&]<class T>(Type<T>) {
               kernels<NormKernels>(from.device(), "batch_norm")
                   .of<T>()
                   .batch_norm_backward(gradient.address<T>(), from.address<T>(), data_or_null<T>(scale),
                                        mean.get(node).address<T>(), var.get(node).address<T>(), eps,
                                        data_or_null<T>(dx), data_or_null<T>(dweight), data_or_null<T>(dbias), batch,
                                        channels, n);
             });
             return {dx, dweight, dbias};
           });
  return {y, mean, var};
}

/// Statistics over the last axis of `rows` [N, C, n], their mean over N, as the running ones take them.
void update_running(Tensor const& rows, Tensor const& running_mean, Tensor const& running_var, double momentum) {
  if (recomputing() || (!running_mean.defined() && !running_var.defined())) return;
  NoGrad const off;
  update(running_mean, mean(mean(rows, {-1}), {0}), momentum);
  update(running_var, mean(var(rows, {-1}), {0}), momentum);
}

Tensor with_running(Tensor const& x, Tensor const& running_mean, Tensor const& running_var, Tensor const& weight,
                    Tensor const& bias, double eps) {
  Tensor scale = rsqrt(running_var.to(x.dtype()) + eps);
  Tensor const y =
      (x - by_channel(running_mean.to(x.dtype()), x)) * by_channel(weight.defined() ? scale * weight : scale, x);
  return bias.defined() ? y + by_channel(bias, x) : y;
}

void check_running(char const* op, bool training, Tensor const& running_mean, Tensor const& running_var) {
  check(training || (running_mean.defined() && running_var.defined()), op, [] {
    return Complaint{"evaluation needs running statistics", "pass them, or set training"};
  });
}

}  // namespace

Tensor layer_norm(Tensor const& x, Shape const& normalized, Tensor const& weight, Tensor const& bias, double eps) {
  Tensor const flat = last_axes_as_one("layer_norm", x, normalized);
  return layer_norm(flat, flat_scale("layer_norm", "weight", weight, normalized),
                    flat_scale("layer_norm", "bias", bias, normalized), eps)
      .reshape(x.shape());
}

Tensor rms_norm(Tensor const& x, Shape const& normalized, Tensor const& weight, double eps) {
  Tensor const flat = last_axes_as_one("rms_norm", x, normalized);
  return rms_norm(flat, flat_scale("rms_norm", "weight", weight, normalized), eps).reshape(x.shape());
}

Tensor group_norm(Tensor const& x, int64_t groups, Tensor const& weight, Tensor const& bias, double eps) {
  check_channels("group_norm", x, {weight, bias});
  check(groups >= 1 && x.size(1) % groups == 0, "group_norm", [&] {
    return Complaint{fmt::format("{} channels do not make {} groups", x.size(1), groups),
                     "pass a divisor of the number of channels"};
  });
  if (x.numel() == 0) return scaled(x.clone(), weight, bias);
  int64_t const rows = x.size(0) * groups;
  return scaled(layer_norm(x.reshape({rows, x.numel() / rows}), {}, {}, eps).reshape(x.shape()), weight, bias);
}

Tensor batch_norm(Tensor const& x, Tensor const& running_mean, Tensor const& running_var, Tensor const& weight,
                  Tensor const& bias, BatchNormOptions const& options) {
  check_defined("batch_norm", x);
  check_running("batch_norm", options.training, running_mean, running_var);
  if (x.rank() == 1 && x.numel() == 0) return x.clone();
  check_channels("batch_norm", x, {running_mean, running_var, weight, bias});
  int64_t const channels = x.size(1), n = channels ? x.numel() / channels : 0;
  check(!options.training || x.numel() != channels, "batch_norm", [&] {
    return Complaint{
        fmt::format("x of shape {} has one value for each channel, and so no variance", to_string(x.shape())),
        "train on a larger batch, or evaluate"};
  });
  if (!options.training) return with_running(x, running_mean, running_var, weight, bias, options.eps);
  if (x.numel() == 0) return scaled(x.clone(), weight, bias);
  auto const fits = [&](Tensor const& scale) { return !scale.defined() || scale.dtype() == x.dtype(); };
  constexpr int64_t short_row = 16;  // below, rows of one sample leave registers empty
  bool const wide = autocast_wide(x.dtype()) == x.dtype() && !is_half(x.dtype()) && fits(weight) && fits(bias);
  if (!wide || n / x.size(0) < short_row) {
    update_running(x.detach().transpose(0, 1).reshape({1, channels, n}), running_mean, running_var, options.momentum);
    return composed_batch_norm(x, weight, bias, options.eps);
  }
  auto const [y, mean, var] = fused_batch_norm(x, weight, bias, options.eps);
  NoGrad const off;
  update(running_mean, mean, options.momentum);
  update(running_var, var * (double(n) / double(n - 1)), options.momentum);
  return y;
}

Tensor instance_norm(Tensor const& x, Tensor const& running_mean, Tensor const& running_var, Tensor const& weight,
                     Tensor const& bias, BatchNormOptions const& options) {
  check_channels("instance_norm", x, {running_mean, running_var, weight, bias});
  check_running("instance_norm", options.training, running_mean, running_var);
  if (!options.training) return with_running(x, running_mean, running_var, weight, bias, options.eps);
  int64_t const rows = x.size(0) * x.size(1);
  check(x.numel() != rows, "instance_norm", [&] {
    return Complaint{
        fmt::format("x of shape {} has one value for each channel, and so no variance", to_string(x.shape())),
        "pass more than one position, or evaluate"};
  });
  Tensor const whole = x.contiguous();
  update_running(whole.detach().reshape({x.size(0), x.size(1), x.numel() / rows}), running_mean, running_var,
                 options.momentum);
  return group_norm(whole, x.size(1), weight, bias, options.eps);
}

Tensor local_response_norm(Tensor const& x, int64_t size, double alpha, double beta, double k) {
  check_defined("local_response_norm", x);
  check(x.rank() >= 2 && size >= 1, "local_response_norm", [&] {
    return Complaint{
        fmt::format("expected x [N, C, ..] and a size of 1 or more, got {} and {}", to_string(x.shape()), size),
        "put the channels on axis 1"};
  });
  int64_t const channels = x.size(1);
  auto const padding = [&](int64_t count) {
    Shape shape = x.shape();
    shape[1] = count;
    return zeros(shape, x.dtype(), x.device());
  };
  Tensor const padded = cat({padding(size / 2), square(x), padding((size - 1) / 2)}, 1);
  Tensor total = padded.slice(1, 0, channels);
  for (int64_t j = 1; j < size; ++j) total = total + padded.slice(1, j, j + channels);
  return x / pow(total * (alpha / double(size)) + k, beta);
}

}  // namespace heed
