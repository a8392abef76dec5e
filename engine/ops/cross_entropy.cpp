// Cross-entropy of logits and class indices, with the softmax fused into loss and gradient.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/cross_entropy.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

void check_smoothing(CrossEntropyOptions const& options) {
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, "cross_entropy", [&] {
    return Complaint{fmt::format("expected label smoothing from 0 to 1, got {}", options.label_smoothing),
                     "pass a share"};
  });
}

/// Shapes, types and the range of every target; the number of rows that count.
int64_t check_targets(Tensor const& logits, Tensor const& targets, CrossEntropyOptions const& options) {
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
  int64_t const* const target = targets.data<int64_t>();
  int64_t counted = 0;
  for (int64_t r = 0; r < rows; ++r) {
    if (target[r] == options.ignore_index) continue;
    ++counted;
    check(target[r] >= 0 && target[r] < classes, "cross_entropy", [&] {
      return Complaint{fmt::format("target {} of row {} is outside the {} classes", target[r], r, classes),
                       fmt::format("use 0 to {}, or the ignored index {}", classes - 1, options.ignore_index)};
    });
  }
  return counted;
}

Tensor reduced(Tensor const& losses, int64_t counted, Reduction reduction) {
  if (reduction == Reduction::none) return losses;
  Tensor const total = sum(losses);
  // The mean over no row is 0/0, as in PyTorch.
  return reduction == Reduction::sum ? total : total / double(counted);
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
  return reduced(-sum(terms, {-1}), classes ? logits.numel() / classes : 0, options.reduction);
}

/// Class weights w, classes last: (1 − s)·w_target·nll + s/C·Σ_j w_j·nll_j.
Tensor weighted(Tensor const& logits, Tensor const& targets, CrossEntropyOptions const& options) {
  int64_t const classes = logits.size(-1);
  double const s = options.label_smoothing;
  Tensor const log_p = log_softmax(logits);
  Tensor const ignored = targets == double(options.ignore_index), index = where(ignored, zeros_like(targets), targets);
  Tensor const one_hot = (index.unsqueeze(-1) == arange(classes)).to(logits.dtype());
  Tensor const w = sum(one_hot * options.weight, {-1});
  Tensor losses = -sum(where(one_hot == 0.0, 0.0, log_p), {-1}) * w * (1 - s);
  if (s > 0) losses = losses - sum(log_p * options.weight, {-1}) * (s / double(classes));
  losses = where(ignored, 0.0, losses);
  if (options.reduction != Reduction::mean) return reduced(losses, 0, options.reduction);
  return sum(losses) / sum(where(ignored, 0.0, w));
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
  int64_t const counted = check_targets(logits, whole_targets, options);
  Tensor const x = logits.contiguous();
  int64_t const classes = x.size(-1), rows = targets.numel();
  Tensor losses(targets.shape(), x.dtype()), lse({rows}, x.dtype());
  Observed const watch("cross_entropy", {&x, &targets}, {&losses, &lse});
  dispatch_floating("cross_entropy", x.dtype(), [&]<class T>(Type<T>) {
    kernels<CrossEntropyKernels>().of<T>().forward(x.data<T>(), whole_targets.data<int64_t>(), options.ignore_index,
                                                   options.label_smoothing, losses.data<T>(), lse.data<T>(), rows,
                                                   classes);
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
             Tensor dx(from.shape(), from.dtype());
             Observed const watch("cross_entropy", {&row_gradient, &from, &lse.get(node)}, {&dx});
             dispatch_floating("cross_entropy", from.dtype(), [&]<class T>(Type<T>) {
               kernels<CrossEntropyKernels>().of<T>().backward(
                   from.data<T>(), targets.get(node).data<int64_t>(), options.ignore_index, options.label_smoothing,
                   lse.get(node).data<T>(), row_gradient.data<T>(), dx.data<T>(), rows, classes);
             });
             return std::array{dx};
           });
  return reduced(losses, counted, options.reduction);
}

Tensor naive::cross_entropy(Tensor const& logits, Tensor const& targets, CrossEntropyOptions options) {
  int64_t const counted = check_targets(logits, targets.contiguous(), options);
  int64_t const classes = logits.size(-1);
  Tensor const log_p = naive::log_softmax(logits);
  Tensor const one_hot = (targets.unsqueeze(-1) == arange(classes)).to(logits.dtype());
  double const s = options.label_smoothing;
  Tensor const wanted = one_hot * (1 - s) + (s / double(classes));
  Tensor const losses = where(targets == double(options.ignore_index), 0.0, -sum(wanted * log_p, {-1}));
  return reduced(losses, counted, options.reduction);
}

}  // namespace heed
