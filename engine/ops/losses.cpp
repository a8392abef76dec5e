// Losses: compositions, save for binary cross-entropy, whose logarithms have limits.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <cmath>
#include <numbers>

namespace heed {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

Tensor reduced(Tensor const& losses, Reduction reduction) {
  if (reduction == Reduction::none) return losses;
  return reduction == Reduction::sum ? sum(losses) : mean(losses);
}

void check_both(char const* op, Tensor const& a, Tensor const& b) {
  check_defined(op, a);
  check_defined(op, b);
}

void check_same_shape(char const* op, Tensor const& input, Tensor const& target) {
  check_both(op, input, target);
  check(input.shape() == target.shape(), op, [&] {
    return Complaint{
        fmt::format("expected a target of shape {}, got {}", to_string(input.shape()), to_string(target.shape())),
        "give one target for each element"};
  });
}

void check_number(char const* op, char const* what, bool ok, double got, char const* expected) {
  check(ok, op, [&] {
    return Complaint{fmt::format("expected {} {}, got {}", what, expected, got), fmt::format("pass {}", expected)};
  });
}

Tensor at_least(Tensor const& x, double low) { return clamp(x, low, infinity); }

/// max(x, low), whose gradient takes no notice of the limit.
Tensor at_least_straight(char const* op, Tensor const& x, double low) {
  Tensor y = at_least(x.detach(), low);
  if (tracked(x)) record(op, y, {&x}, [](Tensor const& g, Node const&) { return std::array{g}; });
  return y;
}

/// t·log t, 0 at 0.
Tensor self_information(Tensor const& t) {
  Tensor const zero = t == 0.0;
  return where(zero, 0.0, t * log(where(zero, 1.0, t)));
}

/// Elements x[n, index[n, i], i] of x [N, C, M] for index [N, M]; `index` lies in range.
Tensor chosen(Tensor const& x, Tensor const& index) { return gather(x, 1, index.unsqueeze(1)).squeeze(1); }

/// An Error for what the processor holds; kernels elsewhere check theirs.
void check_classes(char const* op, Tensor const& target, int64_t classes, int64_t ignore_index) {
  if (!target.device().is_cpu()) return;
  Tensor const whole = target.contiguous();
  int64_t const* const from = whole.data<int64_t>();
  for (int64_t i = 0, n = target.numel(); i < n; ++i)
    check(from[i] == ignore_index || (from[i] >= 0 && from[i] < classes), op, [&] {
      return Complaint{fmt::format("target {} at position {} is outside the {} classes", from[i], i, classes),
                       fmt::format("use 0 to {}, or the ignored index {}", classes - 1, ignore_index)};
    });
}

void check_class_weight(char const* op, Tensor const& weight, int64_t classes) {
  check(!weight.defined() || weight.shape() == Shape{classes}, op, [&] {
    return Complaint{fmt::format("expected a weight of shape [{}], got {}", classes, to_string(weight.shape())),
                     "give one weight for each class"};
  });
}

/// weight[index], or 1.
Tensor weights_of(Tensor const& weight, Tensor const& index, Dtype dtype) {
  if (!weight.defined()) return ones(index.shape(), dtype, index.device());
  return embedding(index, weight.to(dtype).unsqueeze(1)).squeeze(-1);
}

}  // namespace

Tensor mse_loss(Tensor const& input, Tensor const& target, Reduction reduction) {
  check_both("mse_loss", input, target);
  return reduced(square(input - target), reduction);
}

Tensor l1_loss(Tensor const& input, Tensor const& target, Reduction reduction) {
  check_both("l1_loss", input, target);
  return reduced(abs(input - target), reduction);
}

Tensor smooth_l1_loss(Tensor const& input, Tensor const& target, double beta, Reduction reduction) {
  check_both("smooth_l1_loss", input, target);
  check_number("smooth_l1_loss", "a beta of", beta >= 0, beta, "0 or more");
  if (beta == 0) return l1_loss(input, target, reduction);
  Tensor const d = abs(input - target);
  return reduced(where(d < beta, square(d) * (0.5 / beta), d - 0.5 * beta), reduction);
}

Tensor huber_loss(Tensor const& input, Tensor const& target, double delta, Reduction reduction) {
  check_both("huber_loss", input, target);
  check_number("huber_loss", "a delta", delta > 0, delta, "above 0");
  Tensor const d = abs(input - target);
  return reduced(where(d < delta, 0.5 * square(d), delta * (d - 0.5 * delta)), reduction);
}

namespace {

/// Element by element. The gradient (x − t)/max(x·(1 − x), 1e-12) has a limit of its own.
Tensor binary_losses(Tensor const& x, Tensor const& t) {
  Tensor y;
  {
    NoGrad const off;
    y = (t - 1.0) * at_least(log1p(-x), -100) - t * at_least(log(x), -100);
  }
  if (tracked(x, t))
    record("binary_cross_entropy", y, {&x, &t}, [x = Saved(x), t = Saved(t)](Tensor const& g, Node const& node) {
      Tensor const &p = x.get(node), &want = t.get(node);
      std::array<Tensor, 2> d;
      if (node.needs(0)) d[0] = g * (p - want) / at_least((1.0 - p) * p, 1e-12);
      if (node.needs(1)) d[1] = g * (log1p(-p) - log(p));
      return d;
    });
  return y;
}

}  // namespace

Tensor binary_cross_entropy(Tensor const& input, Tensor const& target, Tensor const& weight, Reduction reduction) {
  check_same_shape("binary_cross_entropy", input, target);
  Dtype const dtype = promote(input.dtype(), target.dtype());
  Tensor const x = input.to(dtype);
  if (!is_floating(dtype)) detail::unsupported_dtype("binary_cross_entropy", dtype, "a floating type");
  Tensor const y = target.to(dtype);
  auto const are_probabilities = [](Tensor const& p) {  // an accelerator's are not looked at: the host would wait
    return !p.device().is_cpu() || sum((p.detach() >= 0.0) & (p.detach() <= 1.0)).item<int64_t>() == p.numel();
  };
  check(are_probabilities(x), "binary_cross_entropy", [] {
    return Complaint{"expected probabilities from 0 to 1", "apply sigmoid first, or use the loss with logits"};
  });
  check(are_probabilities(y), "binary_cross_entropy", [] {
    return Complaint{"expected targets from 0 to 1", "give the probability of class 1"};
  });
  Tensor const losses = binary_losses(x, y);
  return reduced(weight.defined() ? losses * weight : losses, reduction);
}

Tensor binary_cross_entropy_with_logits(Tensor const& logits, Tensor const& target,
                                        BinaryCrossEntropyOptions const& options) {
  check_same_shape("binary_cross_entropy_with_logits", logits, target);
  Tensor const log_p = log_sigmoid(logits);
  Tensor losses = (1.0 - target) * logits;
  losses = losses - (options.pos_weight.defined() ? ((options.pos_weight - 1.0) * target + 1.0) * log_p : log_p);
  return reduced(options.weight.defined() ? losses * options.weight : losses, options.reduction);
}

Tensor nll_loss(Tensor const& log_p, Tensor const& target, NllOptions const& options) {
  check_both("nll_loss", log_p, target);
  Shape expected = log_p.shape();
  int const axis = log_p.rank() > 1 ? 1 : 0;
  if (log_p.rank() > 0) expected.erase(axis);
  check(log_p.rank() > 0 && target.shape() == expected && target.dtype() == Dtype::i64, "nll_loss", [&] {
    return Complaint{
        fmt::format("expected targets of shape {} i64 for log_p of shape {}, got {} {}", to_string(expected),
                    to_string(log_p.shape()), to_string(target.shape()), name(target.dtype())),
        "put the classes on axis 1 (axis 0 where there is one axis), and give one class index for each row"};
  });
  int64_t const classes = log_p.size(axis);
  check_class_weight("nll_loss", options.weight, classes);
  check_classes("nll_loss", target, classes, options.ignore_index);
  Tensor const counts = target != options.ignore_index, index = where(counts, target, 0);
  int64_t const rows = log_p.rank() > 1 ? log_p.size(0) : 1, inner = rows ? target.numel() / rows : 0;
  Tensor const weight = where(counts, weights_of(options.weight, index, log_p.dtype()), 0.0);
  // An ignored element may be infinite.
  Tensor const value = chosen(log_p.reshape({rows, classes, inner}), index.reshape({rows, inner})).reshape(expected);
  Tensor const losses = where(counts, -value * weight, 0.0);
  if (options.reduction != Reduction::mean) return reduced(losses, options.reduction);
  return sum(losses) / sum(weight);
}

Tensor kl_div(Tensor const& log_p, Tensor const& target, KlDivOptions const& options) {
  check_both("kl_div", log_p, target);
  check(!options.batch_mean || log_p.rank() > 0, "kl_div", [] {
    return Complaint{"a scalar has no batch to average over", "pass [N, ..], or leave batch_mean off"};
  });
  Tensor const losses = options.log_target ? exp(target) * (target - log_p) : self_information(target) - target * log_p;
  if (options.batch_mean) return sum(losses) / double(log_p.size(0));
  return reduced(losses, options.reduction);
}

Tensor poisson_nll_loss(Tensor const& input, Tensor const& target, PoissonNllOptions const& options) {
  check_both("poisson_nll_loss", input, target);
  Tensor losses = options.log_input ? exp(input) - target * input : input - target * log(input + options.eps);
  if (options.full) {
    Tensor const small = target <= 1.0, t = where(small, 1.0, target);
    losses = losses + where(small, 0.0, t * log(t) - t + 0.5 * log((2 * std::numbers::pi) * t));
  }
  return reduced(losses, options.reduction);
}

Tensor gaussian_nll_loss(Tensor const& input, Tensor const& target, Tensor const& variance,
                         GaussianNllOptions const& options) {
  check_both("gaussian_nll_loss", input, target);
  check_defined("gaussian_nll_loss", variance);
  check_number("gaussian_nll_loss", "an eps", options.eps > 0, options.eps, "above 0");
  Shape without_last = input.shape();
  if (input.rank() > 0) without_last.erase(input.rank() - 1);
  bool fits = variance.rank() == 0 || variance.rank() == input.rank();
  for (int a = 0; fits && a < variance.rank(); ++a)
    fits = variance.shape()[a] == input.shape()[a] || variance.shape()[a] == 1;
  bool const lacks_last = !fits && input.rank() > 0 && variance.shape() == without_last;
  check(fits || lacks_last, "gaussian_nll_loss", [&] {
    return Complaint{fmt::format("expected a variance of shape {} or {}, or with sizes of 1, got {}",
                                 to_string(input.shape()), to_string(without_last), to_string(variance.shape())),
                     "give a variance for each element, for each row, or one for all"};
  });
  check(!variance.device().is_cpu() || sum(variance.detach() < 0.0).item<int64_t>() == 0, "gaussian_nll_loss", [] {
    return Complaint{"a variance is below 0", "pass variances, for example exp of what a model predicts"};
  });
  Tensor const v = at_least_straight("gaussian_nll_loss", lacks_last ? variance.unsqueeze(-1) : variance, options.eps);
  Tensor losses = 0.5 * (log(v) + square(input - target) / v);
  if (options.full) losses = losses + 0.5 * std::log(2 * std::numbers::pi);
  return reduced(losses, options.reduction);
}

Tensor hinge_embedding_loss(Tensor const& input, Tensor const& target, double margin, Reduction reduction) {
  check_both("hinge_embedding_loss", input, target);
  Tensor const far = where(target != 1.0, at_least(margin - input, 0), 0.0);
  return reduced(far + where(target != -1.0, input, 0.0), reduction);
}

Tensor margin_ranking_loss(Tensor const& a, Tensor const& b, Tensor const& target, double margin, Reduction reduction) {
  check_both("margin_ranking_loss", a, b);
  check_defined("margin_ranking_loss", target);
  return reduced(at_least(margin - target * (a - b), 0), reduction);
}

Tensor cosine_embedding_loss(Tensor const& a, Tensor const& b, Tensor const& target, double margin,
                             Reduction reduction) {
  check_both("cosine_embedding_loss", a, b);
  check_defined("cosine_embedding_loss", target);
  check(
      (a.rank() == 2 && b.rank() == 2 && target.rank() == 1) || (a.rank() == 1 && b.rank() == 1 && target.rank() == 0),
      "cosine_embedding_loss", [&] {
        return Complaint{fmt::format("expected a, b [N, C] and target [N], or [C] and [], got {}, {} and {}",
                                     to_string(a.shape()), to_string(b.shape()), to_string(target.shape())),
                         "give one target for each pair"};
      });
  Dtype const dtype = is_floating(promote(a.dtype(), b.dtype())) ? promote(a.dtype(), b.dtype()) : Dtype::f32;
  Tensor const x = a.to(dtype), y = b.to(dtype);
  Tensor const lengths = sqrt((sum(square(x), {-1}) + 1e-12) * (sum(square(y), {-1}) + 1e-12));
  Tensor const cosine = sum(x * y, {-1}) / lengths;
  return reduced(where(target == 1.0, 1.0 - cosine, 0.0) + where(target == -1.0, at_least(cosine - margin, 0), 0.0),
                 reduction);
}

Tensor cosine_similarity(Tensor const& a, Tensor const& b, int axis, double eps) {
  check_both("cosine_similarity", a, b);
  Shape const shape = broadcast("cosine_similarity", a.shape(), b.shape());
  Dtype const dtype = promote(a.dtype(), b.dtype());
  if (!is_floating(dtype)) detail::unsupported_dtype("cosine_similarity", dtype, "a floating type");
  if (shape.rank() == 0) {
    normalize_axis("cosine_similarity", axis, 1);
    return cosine_similarity(a.unsqueeze(0), b.unsqueeze(0), 0, eps);
  }
  axis = normalize_axis("cosine_similarity", axis, shape.rank());
  Tensor const x = a.to(dtype).expand(shape), y = b.to(dtype).expand(shape);
  // The gradient takes no notice of eps, as in PyTorch.
  auto const unit = [&](Tensor const& v) {
    return v / at_least_straight("cosine_similarity", vector_norm(v, 2, {axis}, true), eps);
  };
  return sum(unit(x) * unit(y), {axis});
}

Tensor pairwise_distance(Tensor const& a, Tensor const& b, double p, double eps, bool keep) {
  check_both("pairwise_distance", a, b);
  Tensor const d = a - b + eps;
  check(d.rank() > 0, "pairwise_distance", [] {
    return Complaint{"expected at least one axis, got scalars", "pass [.., C]"};
  });
  return vector_norm(d, p, {-1}, keep);
}

Tensor triplet_margin_loss(Tensor const& anchor, Tensor const& positive, Tensor const& negative,
                           TripletOptions const& options) {
  check_both("triplet_margin_loss", anchor, positive);
  check_defined("triplet_margin_loss", negative);
  check(anchor.rank() == positive.rank() && anchor.rank() == negative.rank(), "triplet_margin_loss", [&] {
    return Complaint{fmt::format("expected one rank, got {}, {} and {}", to_string(anchor.shape()),
                                 to_string(positive.shape()), to_string(negative.shape())),
                     "give anchor, positive and negative the same axes"};
  });
  check_number("triplet_margin_loss", "a margin", options.margin > 0, options.margin, "above 0");
  auto const distance = [&](Tensor const& a, Tensor const& b) {
    return pairwise_distance(a, b, options.p, options.eps);
  };
  Tensor const near = distance(anchor, positive);
  Tensor far = distance(anchor, negative);
  if (options.swap) far = minimum(far, distance(positive, negative));
  return reduced(at_least(options.margin + near - far, 0), options.reduction);
}

namespace {

/// [N, C], whatever was given: [N, C], [C] or a scalar.
Tensor as_rows(char const* op, Tensor const& x) {
  check(x.rank() <= 2, op, [&] {
    return Complaint{fmt::format("expected [N, C] or [C], got {}", to_string(x.shape())), "flatten the other axes"};
  });
  return x.reshape({x.rank() == 2 ? x.size(0) : 1, x.rank() == 0 ? 1 : x.size(-1)});
}

/// An Error where a list, up to its end, names what is no class.
void check_list(Tensor const& list, Tensor const& ends) {
  Tensor const whole = list.contiguous();
  int64_t const rows = list.size(0), classes = list.size(1);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < ends.data<int64_t>()[r]; ++j) {
      int64_t const c = whole.data<int64_t>()[r * classes + j];
      check(c >= 0 && c < classes, "multilabel_margin_loss", [&] {
        return Complaint{fmt::format("target {} of row {} is outside the {} classes", c, r, classes),
                         fmt::format("use 0 to {}, and -1 after the last", classes - 1)};
      });
    }
}

}  // namespace

Tensor multi_margin_loss(Tensor const& input, Tensor const& target, MultiMarginOptions const& options) {
  check_both("multi_margin_loss", input, target);
  check_number("multi_margin_loss", "a power p of", options.p == 1 || options.p == 2, options.p, "1 or 2");
  Tensor const x = as_rows("multi_margin_loss", input);
  int64_t const rows = x.size(0), classes = x.size(1);
  check(target.dtype() == Dtype::i64 && target.rank() <= 1 && target.numel() == rows && classes > 0,
        "multi_margin_loss", [&] {
          return Complaint{fmt::format("expected targets of shape [{}] i64 for input of shape {}, got {} {}", rows,
                                       to_string(input.shape()), to_string(target.shape()), name(target.dtype())),
                           "give one class index for each row"};
        });
  check_class_weight("multi_margin_loss", options.weight, classes);
  // No index is ignored: an impossible one stands for it.
  check_classes("multi_margin_loss", target, classes, std::numeric_limits<int64_t>::min());
  Tensor const index = target.reshape({rows, 1});
  Tensor const own = chosen(x.unsqueeze(-1), index);
  Tensor z = relu(x - own + options.margin);
  if (options.p == 2) z = square(z);
  z = where(index == arange(classes, index.device()), 0.0, z) * weights_of(options.weight, index, x.dtype());
  Tensor const losses = sum(z, {1}) / double(classes);
  return reduced(input.rank() == 2 || options.reduction != Reduction::none ? losses : losses.reshape(target.shape()),
                 options.reduction);
}

Tensor multilabel_margin_loss(Tensor const& input, Tensor const& target, Reduction reduction) {
  check_same_shape("multilabel_margin_loss", input, target);
  if (target.dtype() != Dtype::i64) detail::unsupported_dtype("multilabel_margin_loss", target.dtype(), "i64 targets");
  Tensor const x = as_rows("multilabel_margin_loss", input);
  int64_t const rows = x.size(0), classes = x.size(1);
  Tensor const list = target.reshape({rows, classes}), place = arange(classes, target.device());
  // A list ends before its first -1.
  Tensor const ends = where(list == -1, place, classes);
  Tensor const end = classes ? amin(ends, {1}, true) : zeros({rows, 1}, Dtype::i64, target.device());
  Tensor const listed = place < end;
  if (target.device().is_cpu()) check_list(list, end);
  // Whether a class is no target of its row.
  Tensor const others = !any((list.unsqueeze(2) == place) & listed.unsqueeze(2), {1});
  Tensor const own = gather(x, 1, where(listed, list, 0));
  Tensor const z = relu(x.unsqueeze(1) - own.unsqueeze(2) + 1.0);
  Tensor const losses =
      sum(where(listed.unsqueeze(2) & others.unsqueeze(1), z, 0.0), {1, 2}) / double(classes ? classes : 1);
  return reduced(input.rank() == 2 ? losses : losses.squeeze(0), reduction);
}

Tensor multilabel_soft_margin_loss(Tensor const& input, Tensor const& target, Tensor const& weight,
                                   Reduction reduction) {
  check_same_shape("multilabel_soft_margin_loss", input, target);
  check(input.rank() > 0, "multilabel_soft_margin_loss", [] {
    return Complaint{"expected at least one axis, got a scalar", "pass [.., C]"};
  });
  Tensor losses = (target - 1.0) * log_sigmoid(-input) - target * log_sigmoid(input);
  if (weight.defined()) losses = losses * weight;
  return reduced(sum(losses, {-1}) / double(input.size(-1)), reduction);
}

Tensor soft_margin_loss(Tensor const& input, Tensor const& target, Reduction reduction) {
  check_both("soft_margin_loss", input, target);
  return reduced(softplus(-(target * input)), reduction);
}

Tensor normalize(Tensor const& x, double p, int axis, double eps) {
  check_defined("normalize", x);
  if (x.rank() == 0) {
    normalize_axis("normalize", axis, 1);
    return normalize(x.unsqueeze(0), p, 0, eps).squeeze(0);
  }
  axis = normalize_axis("normalize", axis, x.rank());
  return x / at_least(vector_norm(x, p, {axis}, true), eps);
}

}  // namespace heed
