// Cross-entropy of logits and class indices, with the softmax fused into loss and gradient.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/cross_entropy.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

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
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, "cross_entropy", [&] {
    return Complaint{fmt::format("expected label smoothing from 0 to 1, got {}", options.label_smoothing),
                     "pass a share"};
  });
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

Tensor cross_entropy(Tensor const& logits, Tensor const& targets, CrossEntropyOptions options) {
  Tensor const whole_targets = targets.defined() ? targets.contiguous() : targets;
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
