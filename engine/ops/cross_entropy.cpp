// Cross-entropy of logits and class indices, with the softmax fused into loss and gradient.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/cross_entropy.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

void check_smoothing(CrossEntropyOptions const& options) {
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, "cross_entropy", [&] {
    return Complaint{fmt::format("expected label smoothing from 0 to 1, got {}", options.label_smoothing),
                     "pass a share"};
  });
}

/// Shapes and types, and the range of every target that is the processor's: kernels elsewhere check theirs.
void check_targets(Tensor const& logits, Tensor const& targets, CrossEntropyOptions const& options) {
  check_defined("cross_entropy", logits);
  check_defined("cross_entropy", targets);
  Shape expected = logits.shape();
  if (logits.rank() > 0) expected.erase(logits.rank() - 1);
  check(logits.rank() > 0 && targets.shape() == expected && targets.dtype() == Dtype::i64, "cross_entropy", [&] {
    return Complaint{
        fmt::format("expected targets of shape {} i64 for logits of shape {}, got {} {}", to_string(expected),
                    to_string(logits.shape()), to_string(targets.shape()), name(targets.dtype())),
        "give one class index for each row of logits"};
  });
  check_smoothing(options);
  int64_t const classes = logits.size(-1), rows = targets.numel();
  check(classes > 0 || rows == 0, "cross_entropy", [&] {
    return Complaint{fmt::format("logits of shape {} hold no class", to_string(logits.shape())), "give one or more"};
  });
  if (!targets.device().is_cpu()) return;
  int64_t const* const target = targets.data<int64_t>();
  for (int64_t r = 0; r < rows; ++r)
    check(target[r] == options.ignore_index || (target[r] >= 0 && target[r] < classes), "cross_entropy", [&] {
      return Complaint{fmt::format("target {} of row {} is outside the {} classes", target[r], r, classes),
                       fmt::format("use 0 to {}, or the ignored index {}", classes - 1, options.ignore_index)};
    });
}

/// How many rows are not ignored, as a scalar of type T.
Tensor counted(Tensor const& targets, CrossEntropyOptions const& options, Dtype dtype) {
  Tensor const y({}, dtype, targets.device());
  dispatch_floating("cross_entropy", dtype, [&]<class T>(Type<T>) {
    kernels<CrossEntropyKernels>(y.device(), "cross_entropy")
        .of<T>()
        .count(targets.address<int64_t>(), options.ignore_index, targets.numel(), y.address<T>());
  });
  return y;
}

/// count(): what a mean divides by. The mean over no row is 0/0, as in PyTorch.
template <class Count>
Tensor reduced(Tensor const& losses, Reduction reduction, Count const& count) {
  if (reduction == Reduction::none) return losses;
  Tensor const total = sum(losses);
  return reduction == Reduction::sum ? total : total / count();
}

}  // namespace

namespace {

/// The classes moved to the last axis.
Tensor classes_last(Tensor const& x, int axis) {
  check_defined("cross_entropy", x);
  axis = normalize_axis("cross_entropy", axis, x.rank());
  if (axis == x.rank() - 1) return x;
  Dims order;
  for (int a = 0; a < x.rank(); ++a)
    if (a != axis) order.push_back(a);
  order.push_back(axis);
  return x.permute(order);
}

/// Targets are probabilities, classes last.
Tensor against_probabilities(Tensor const& logits, Tensor const& targets, CrossEntropyOptions const& options) {
  check(targets.shape() == logits.shape(), "cross_entropy", [&] {
    return Complaint{fmt::format("expected class probabilities of shape {}, got {} {}", to_string(logits.shape()),
                                 to_string(targets.shape()), name(targets.dtype())),
                     "give a probability for each class, or class indices of i64"};
  });
  double const s = options.label_smoothing;
  int64_t const classes = logits.size(-1);
  Tensor const wanted = s > 0 ? targets * (1 - s) + s / double(classes) : targets;
  Tensor terms = wanted * log_softmax(logits);
  if (options.weight.defined()) terms = terms * options.weight;
  return reduced(-sum(terms, {-1}), options.reduction, [&] { return double(classes ? logits.numel() / classes : 0); });
}

/// Class weights w, classes last: (1 − s)·w_target·nll + s/C·Σ_j w_j·nll_j.
Tensor weighted(Tensor const& logits, Tensor const& targets, CrossEntropyOptions const& options) {
  int64_t const classes = logits.size(-1);
  double const s = options.label_smoothing;
  Tensor const log_p = log_softmax(logits);
  Tensor const ignored = targets == double(options.ignore_index), index = where(ignored, zeros_like(targets), targets);
  Tensor const one_hot = (index.unsqueeze(-1) == arange(classes, index.device())).to(logits.dtype());
  Tensor const w = sum(one_hot * options.weight, {-1});
  Tensor losses = -sum(where(one_hot == 0.0, 0.0, log_p), {-1}) * w * (1 - s);
  if (s > 0) losses = losses - sum(log_p * options.weight, {-1}) * (s / double(classes));
  losses = where(ignored, 0.0, losses);
  return reduced(losses, options.reduction, [&] { return sum(where(ignored, 0.0, w)); });
}

}  // namespace

Tensor cross_entropy(Tensor const& logits, Tensor const& targets, CrossEntropyOptions options) {
  check_defined("cross_entropy", logits);
  check_defined("cross_entropy", targets);
  if (is_half(logits.dtype()))
    return cross_entropy(logits.to(Dtype::f32), targets, options).to(autocast_wide(logits.dtype()));
  if (options.axis != -1 || is_floating(targets.dtype()) || options.weight.defined()) {
    Tensor const last = classes_last(logits, options.axis);
    Tensor const& w = options.weight;
    check(!w.defined() || w.shape() == Shape{last.size(-1)}, "cross_entropy", [&] {
      return Complaint{fmt::format("expected a weight of shape [{}], got {}", last.size(-1), to_string(w.shape())),
                       "give one weight for each class"};
    });
    check_smoothing(options);
    if (is_floating(targets.dtype())) return against_probabilities(last, classes_last(targets, options.axis), options);
    if (w.defined()) {
      check_targets(last, targets.contiguous(), options);
      return weighted(last, targets, options);
    }
    options.axis = -1;
    return cross_entropy(last, targets, options);
  }
  Tensor const whole_targets = targets.contiguous();
  check_targets(logits, whole_targets, options);
  Tensor const x = logits.contiguous();
  int64_t const classes = x.size(-1), rows = targets.numel();
  Device const device = common_device("cross_entropy", {&x, &whole_targets});
  Tensor losses(targets.shape(), x.dtype(), device), lse({rows}, x.dtype(), device);
  Observed const watch("cross_entropy", {&x, &targets}, {&losses, &lse});
  dispatch_floating("cross_entropy", x.dtype(), [&]<class T>(Type<T>) {
    kernels<CrossEntropyKernels>(device, "cross_entropy")
        .of<T>()
        .forward(x.address<T>(), whole_targets.address<int64_t>(), options.ignore_index, options.label_smoothing,
                 losses.address<T>(), lse.address<T>(), rows, classes);
  });
  if (tracked(x))
    record("cross_entropy", losses, {&x},
           [x = Saved(x), targets = Saved(whole_targets), lse = Saved(lse), options, rows, classes](Tensor const& g,
                                                                                                    Node const& node) {
             Tensor const& from = x.get(node);
             if (recording()) {
               auto const in = twin_inputs({from});
               auto plain = options;
               plain.reduction = Reduction::none;
               return std::array{twin_gradients({naive::cross_entropy(in[0], targets.get(node), plain)}, in, {g})[0]};
             }
             Tensor const row_gradient = g.contiguous();
             Tensor dx(from.shape(), from.dtype(), from.device());
             Observed const watch("cross_entropy", {&row_gradient, &from, &lse.get(node)}, {&dx});
             dispatch_floating("cross_entropy", from.dtype(), [&]<class T>(Type<T>) {
               kernels<CrossEntropyKernels>(from.device(), "cross_entropy")
                   .of<T>()
                   .backward(from.address<T>(), targets.get(node).address<int64_t>(), options.ignore_index,
                             options.label_smoothing, lse.get(node).address<T>(), row_gradient.address<T>(),
                             dx.address<T>(), rows, classes);
             });
             return std::array{dx};
           });
  return reduced(losses, options.reduction, [&] { return counted(whole_targets, options, x.dtype()); });
}

Tensor naive::cross_entropy(Tensor const& logits, Tensor const& targets, CrossEntropyOptions options) {
  check_targets(logits, targets.contiguous(), options);
  int64_t const classes = logits.size(-1);
  Tensor const log_p = naive::log_softmax(logits);
  Tensor const one_hot = (targets.unsqueeze(-1) == arange(classes, targets.device())).to(logits.dtype());
  double const s = options.label_smoothing;
  Tensor const wanted = one_hot * (1 - s) + (s / double(classes));
  Tensor const losses = where(targets == double(options.ignore_index), 0.0, -sum(wanted * log_p, {-1}));
  return reduced(losses, options.reduction, [&] { return counted(targets.contiguous(), options, logits.dtype()); });
}

namespace {

/// The losses of rows of x·weightᵀ + bias and, for row gradients g, all gradients, by blocks of rows whose logits stay
/// in the second-level cache where the classes are few enough.
struct LinearLosses {
  Tensor losses;              // [rows]
  Tensor dx, dweight, dbias;  // undefined without g
};

template <class T>
LinearLosses linear_losses(Tensor const& x, Tensor const& targets, Tensor const& weight, Tensor const& bias,
                           CrossEntropyOptions const& options, T const* g) {
  int64_t const rows = x.size(0), width = x.size(1), classes = weight.size(0);
  Device const device = common_device("linear_cross_entropy", {&x, &targets, &weight, &bias});
  int64_t const logits_at_once = int64_t{1} << (device.is_cpu() ? 21 : 24);
  int64_t const block =
      std::min(std::max(logits_at_once / std::max(classes, int64_t{1}), int64_t{64}), std::max(rows, int64_t{1}));
  LinearLosses result{Tensor({rows}, x.dtype(), device), {}, {}, {}};
  if (g) {
    result.dx = Tensor(x.shape(), x.dtype(), device);
    result.dweight = zeros(weight.shape(), x.dtype(), x.device());
    if (bias.defined()) result.dbias = zeros(bias.shape(), x.dtype(), x.device());
  }
  Tensor const logits({block, classes}, x.dtype(), device), lse({block}, x.dtype(), device);
  auto const& gemm = kernels<GemmKernels>(device, "linear_cross_entropy").of<T>().gemm;
  auto const& rows_of = kernels<CrossEntropyKernels>(device, "linear_cross_entropy").of<T>();
  T* const l = logits.address<T>();
  T const* const w = weight.address<T>();
  for (int64_t r = 0; r < rows; r += block) {
    int64_t const n = std::min(block, rows - r);
    T const* const from = x.address<T>() + r * width;
    int64_t const* const target = targets.address<int64_t>() + r;
    gemm({.m = n,
          .n = classes,
          .k = width,
          .a = from,
          .a_row = width,
          .a_col = 1,
          .b = w,
          .b_row = 1,
          .b_col = width,
          .c = l,
          .c_row = classes,
          .bias = bias.defined() ? bias.address<T>() : nullptr});
    rows_of.forward(l, target, options.ignore_index, options.label_smoothing, result.losses.template address<T>() + r,
                    lse.address<T>(), n, classes);
    if (!g) continue;
    rows_of.backward(l, target, options.ignore_index, options.label_smoothing, lse.address<T>(), g + r, l, n, classes);
    gemm({.m = n,
          .n = width,
          .k = classes,
          .a = l,
          .a_row = classes,
          .a_col = 1,
          .b = w,
          .b_row = width,
          .b_col = 1,
          .c = result.dx.template address<T>() + r * width,
          .c_row = width});
    gemm({.m = classes,
          .n = width,
          .k = n,
          .a = l,
          .a_row = 1,
          .a_col = classes,
          .b = from,
          .b_row = width,
          .b_col = 1,
          .c = result.dweight.template address<T>(),
          .c_row = width,
          .accumulate = true});
    if (bias.defined()) result.dbias.add_(sum(logits.slice(0, 0, n), {0}));
  }
  return result;
}

}  // namespace

Tensor linear_cross_entropy(Tensor const& x_in, Tensor const& targets_in, Tensor const& weight_in,
                            Tensor const& bias_in, CrossEntropyOptions const& options) {
  for (Tensor const* t : {&x_in, &targets_in, &weight_in}) check_defined("linear_cross_entropy", *t);
  if (is_half(x_in.dtype()) || is_half(weight_in.dtype()))
    return linear_cross_entropy(widened(x_in), targets_in, widened(weight_in), widened(bias_in), options);
  check(weight_in.rank() == 2 && x_in.rank() >= 1 && x_in.size(-1) == weight_in.size(1) &&
            x_in.dtype() == weight_in.dtype() && (!bias_in.defined() || bias_in.shape() == Shape{weight_in.size(0)}),
        "linear_cross_entropy", [&] {
          return Complaint{
              fmt::format("expected x [.., C], weight [V, C] and bias [V] of one type, got {} {}, {} {}, {}",
                          to_string(x_in.shape()), name(x_in.dtype()), to_string(weight_in.shape()),
                          name(weight_in.dtype()), bias_in.defined() ? to_string(bias_in.shape()) : "no bias"),
              "give the last layer's weight"};
        });
  if (options.axis != -1 || options.weight.defined() || targets_in.dtype() != Dtype::i64)
    return cross_entropy(linear(x_in, weight_in, bias_in), targets_in, options);
  Shape outer = x_in.shape();
  outer.erase(outer.rank() - 1);
  Shape logits = outer;
  logits.push_back(weight_in.size(0));
  Tensor const targets = targets_in.contiguous().reshape({-1});
  int64_t const width = x_in.size(-1), rows = targets.numel();
  // check_targets looks at shapes alone: a tensor without memory stands for the logits.
  check_targets(zeros({}, x_in.dtype(), x_in.device()).expand(logits), targets_in.contiguous(), options);
  Tensor const x = x_in.contiguous().reshape({rows, width}), weight = weight_in.contiguous(),
               bias = bias_in.defined() ? bias_in.contiguous() : bias_in;
  bool const at_once = options.reduction != Reduction::none, wanted = tracked(x, weight, bias);
  CrossEntropyOptions plain = options;
  plain.reduction = Reduction::none;
  Tensor const share = options.reduction == Reduction::mean
                           ? (1.0 / counted(targets, options, Dtype::f64)).to(x.dtype())
                           : ones({}, x.dtype(), targets.device());
  LinearLosses all;
  Tensor losses;
  {
    NoGrad const off;
    Observed const watch("linear_cross_entropy", {&x, &targets, &weight, &bias}, {&losses},
                         [&] { return (wanted && at_once ? 6. : 2.) * double(x.numel()) * double(weight.size(0)); });
    dispatch_floating("linear_cross_entropy", x.dtype(), [&]<class T>(Type<T>) {
      Tensor const g = share.expand({rows}).contiguous();
      all = linear_losses<T>(x.detach(), targets, weight.detach(), bias.defined() ? bias.detach() : bias, options,
                             wanted && at_once ? g.address<T>() : nullptr);
    });
    losses = at_once ? sum(all.losses) * share : all.losses.reshape(outer);
  }
  if (!wanted) return losses;
  record("linear_cross_entropy", losses, {&x, &weight, &bias},
         [x = Saved(x), weight = Saved(weight), bias = Saved(bias), targets, plain, share, at_once, rows,
          made = std::array{Saved(all.dx), Saved(all.dweight), Saved(all.dbias)}](
             Tensor const& g, Node const& node) -> std::array<Tensor, 3> {
           if (recording()) {
             auto const in = twin_inputs({x.get(node), weight.get(node), bias.get(node)});
             Tensor const each = cross_entropy(linear(in[0], in[1], in[2]), targets, plain);
             auto const d = at_once ? twin_gradients({sum(each) * share}, in, {g})
                                    : twin_gradients({each}, in, {g.reshape({rows})});
             return {d[0], d[1], d[2]};
           }
           if (at_once) {
             Tensor const db = made[2].get(node);
             return {made[0].get(node) * g, made[1].get(node) * g, db.defined() ? db * g : db};
           }
           std::array<Tensor, 3> d;
           Tensor const each = g.contiguous();
           dispatch_floating("linear_cross_entropy", each.dtype(), [&]<class T>(Type<T>) {
             auto const again =
                 linear_losses<T>(x.get(node), targets, weight.get(node), bias.get(node), plain, each.address<T>());
             d = {again.dx, again.dweight, again.dbias};
           });
           return d;
         });
  return losses;
}

}  // namespace heed
