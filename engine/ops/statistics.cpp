// Statistics and norms made of other operations: no kernel and no gradient of their own.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/along.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

Dims defined_axes(char const* op, Tensor const& x) {
  check_defined(op, x);
  return all_axes(x);
}

void check_floating(char const* op, Tensor const& x) {
  check_defined(op, x);
  if (!is_floating(x.dtype())) detail::unsupported_dtype(op, x.dtype(), "f32 or f64");
}

Tensor floating(Tensor const& x) { return is_floating(x.dtype()) ? x : x.to(Dtype::f32); }

/// f(x), x >= 0, with value and gradient 0 where x is 0.
template <class F>
Tensor zero_at_zero(Tensor const& x, F const& f) {
  Tensor const zero = x == 0.0;
  return where(zero, 0.0, f(where(zero, 1.0, x)));
}

Tensor root(Tensor const& x) {
  return zero_at_zero(x, [](Tensor const& v) { return sqrt(v); });
}

std::pair<Tensor, Tensor> moments(char const* op, Tensor const& x, Dims const& axes, double correction, bool keep) {
  check_floating(op, x);
  if (is_half(x.dtype())) {
    auto const [variance, average] = moments(op, x.to(Dtype::f32), axes, correction, keep);
    return {variance.to(x.dtype()), average.to(x.dtype())};
  }
  double const n = double(count_along(op, x, axes));
  Tensor const centre = mean(x, axes, true);
  return {sum_squares(x - centre, axes, keep) / std::max(n - correction, 0.0),
          keep ? centre : centre.reshape(reduced_shape(op, x, axes))};
}

}  // namespace

// ---- moments --------------------------------------------------------------------------------------------------------

Tensor var(Tensor const& x, Dims const& axes, double correction, bool keep) {
  return moments("var", x, axes, correction, keep).first;
}
Tensor var(Tensor const& x) { return var(x, defined_axes("var", x)); }

std::pair<Tensor, Tensor> var_mean(Tensor const& x, Dims const& axes, double correction, bool keep) {
  return moments("var_mean", x, axes, correction, keep);
}

Tensor std(Tensor const& x, Dims const& axes, double correction, bool keep) {
  check_floating("std", x);
  if (is_half(x.dtype()))
    return through_f32(x, [&](Tensor const& wide) { return heed::std(wide, axes, correction, keep); });
  return root(moments("std", x, axes, correction, keep).first);
}
Tensor std(Tensor const& x) { return std(x, defined_axes("std", x)); }

std::pair<Tensor, Tensor> std_mean(Tensor const& x, Dims const& axes, double correction, bool keep) {
  check_floating("std_mean", x);
  auto const [variance, centre] =
      moments("std_mean", is_half(x.dtype()) ? x.to(Dtype::f32) : x, axes, correction, keep);
  return {root(variance).to(x.dtype()), centre.to(x.dtype())};
}

Tensor nansum(Tensor const& operand, Dims const& axes, bool keep, std::optional<Dtype> dtype) {
  check_defined("nansum", operand);
  Tensor const x = dtype ? operand.to(*dtype) : operand;
  return sum(is_floating(x.dtype()) ? where(x != x, 0.0, x) : x, axes, keep, dtype);
}
Tensor nansum(Tensor const& x) { return nansum(x, defined_axes("nansum", x)); }

Tensor nanmean(Tensor const& x, Dims const& axes, bool keep) {
  check_floating("nanmean", x);
  return nansum(x, axes, keep) / sum(x == x, axes, keep).to(x.dtype());
}
Tensor nanmean(Tensor const& x) { return nanmean(x, defined_axes("nanmean", x)); }

namespace {
void check_rows(char const* op, Tensor const& x) {
  check_defined(op, x);
  check(x.rank() <= 2, op, [&] {
    return Complaint{fmt::format("expected rank 2 or less, got {}", to_string(x.shape())), "pass rows of observations"};
  });
}
}  // namespace

Tensor cov(Tensor const& x, CovOptions const& options) {
  check_rows("cov", x);
  if (is_half(x.dtype())) {
    Dtype const dtype = options.aweights.defined() ? promote(x.dtype(), options.aweights.dtype()) : x.dtype();
    return cov(x.to(Dtype::f32), options).to(dtype);
  }
  Tensor const rows = x.rank() == 2 ? floating(x) : floating(x).reshape({1, x.numel()});
  int64_t const n = rows.size(1);
  Tensor const &often = options.fweights, &much = options.aweights;
  for (Tensor const* w : {&often, &much})
    check(!w->defined() || (w->rank() <= 1 && w->numel() == n), "cov", [&] {
      return Complaint{fmt::format("{} weights do not go with {} observations", to_string(w->shape()), n),
                       "pass one weight an observation"};
    });
  check(!often.defined() || !is_floating(often.dtype()), "cov", [&] {
    return Complaint{fmt::format("expected integer fweights, got {}", name(often.dtype())), "use aweights for those"};
  });
  Tensor w;
  for (Tensor const* given : {&often, &much})
    if (given->defined()) {
      Tensor const next = given->reshape({n});
      w = w.defined() ? w * next : next;
    }
  Tensor const total = w.defined() ? sum(w) : scalar(double(n), rows.dtype());
  Tensor const centre = w.defined() ? sum(rows * w, {1}, true) / total : mean(rows, {1}, true);
  Tensor const centred = rows - centre;
  // Weights that are no counts leave n_eff = Σw − correction·Σw·a/Σw degrees of freedom (as NumPy's cov).
  Tensor const lost = much.defined() ? sum(w * much.reshape({n})) * options.correction / total
                                     : scalar(options.correction, rows.dtype());
  Tensor const freedom = total - lost, left = where(freedom < 0.0, 0.0, freedom);
  Tensor const y = matmul(centred, (w.defined() ? centred * w : centred).t()) / left;
  return x.rank() == 2 && rows.size(0) != 1 ? y : y.reshape({});
}

Tensor corrcoef(Tensor const& x) {
  check_rows("corrcoef", x);
  if (is_half(x.dtype())) return through_f32(x, [](Tensor const& wide) { return corrcoef(wide); });
  Tensor const c = cov(x);
  if (c.rank() == 0) return c / c;
  Tensor const deviation = sqrt(diagonal(c));
  return clamp(c / deviation.unsqueeze(1) / deviation, -1, 1);
}

// ---- norms ----------------------------------------------------------------------------------------------------------

Tensor vector_norm(Tensor const& x, double ord, Dims const& axes, bool keep) {
  check_floating("vector_norm", x);
  if (is_half(x.dtype())) return through_f32(x, [&](Tensor const& wide) { return vector_norm(wide, ord, axes, keep); });
  if (ord == 2) return root(sum_squares(x, axes, keep));
  if (ord == 0) return sum(where(x != 0.0, 1.0, x * 0.0), axes, keep);
  Tensor const size = abs(x);
  if (ord == 1) return sum(size, axes, keep);
  if (ord < 0 || ord == infinity) {
    int64_t const n = count_along("vector_norm", x, axes);
    check_not_empty("vector_norm", x, n == 0);
  }
  if (std::isinf(ord)) return ord > 0 ? amax(size, axes, keep) : amin(size, axes, keep);
  Tensor const zero = size == 0.0;
  Tensor const powers = where(zero, ord < 0 ? infinity : 0.0, pow(where(zero, 1.0, size), ord));
  return zero_at_zero(sum(powers, axes, keep), [ord](Tensor const& v) { return pow(v, 1 / ord); });
}
Tensor vector_norm(Tensor const& x, double ord) { return vector_norm(x, ord, defined_axes("vector_norm", x)); }

Tensor dist(Tensor const& a, Tensor const& b, double p) {
  check_floating("dist", a);
  check_floating("dist", b);
  return vector_norm(a - b, p);
}

Tensor renorm(Tensor const& x, double p, int axis, double most) {
  check_floating("renorm", x);
  int const kept = normalize_axis("renorm", axis, x.rank());
  check(p > 0 && most >= 0, "renorm", [&] {
    return Complaint{fmt::format("expected p above 0 and a norm of 0 or more, got {} and {}", p, most),
                     "pass the largest norm that a slice may have"};
  });
  if (is_half(x.dtype())) return through_f32(x, [&](Tensor const& wide) { return renorm(wide, p, axis, most); });
  Dims others;
  for (int a = 0; a < x.rank(); ++a)
    if (a != kept) others.push_back(a);
  Tensor const size = vector_norm(x, p, others, true), over = size > most;
  return x * where(over, most / (where(over, size, 1.0) + 1e-7), 1.0);  // PyTorch's 1e-7
}

// ---- quantiles ------------------------------------------------------------------------------------------------------

namespace {

void check_share(char const* op, double q) {
  check(q >= 0 && q <= 1, op, [&] {
    return Complaint{fmt::format("expected q in [0, 1], got {}", q), "divide percentages by 100"};
  });
}

/// For line l of `sorted` [lines, n] and quantile i the rank q_i·(m − 1), m the elements that count: all of them, the
/// numbers among them if `skip_nan`, and one NaN makes the rank n − 1, where NaN stands. In the arithmetic of x's type.
Tensor ranks(Tensor const& sorted, Tensor const& q, bool skip_nan) {
  Tensor const numbers = sum(sorted == sorted, {1}, true).to(sorted.dtype());  // [lines, 1]
  double const n = double(sorted.size(1));
  if (skip_nan) return q * where(numbers < 1.0, 0.0, numbers - 1.0);
  return where(numbers < n, n - 1, q * (n - 1));
}

Tensor quantiles(char const* op, Tensor const& x, Tensor const& q, QuantileOptions const& options, bool skip_nan) {
  check_floating(op, x);
  if (is_half(x.dtype())) detail::unsupported_dtype(op, x.dtype(), "f32 or f64");
  check_defined(op, q);
  check(q.rank() <= 1 && q.dtype() == x.dtype(), op, [&] {
    return Complaint{fmt::format("expected q of {} and rank 1 or less, got {} {}", name(x.dtype()), name(q.dtype()),
                                 to_string(q.shape())),
                     "pass a number, or a list of them in the type of x"};
  });
  // An accelerator's kernels find ranks that are not there.
  for (double each : q.device().is_cpu() ? q.to_vector<double>() : std::vector<double>()) check_share(op, each);
  check_not_empty(op, x, x.numel() == 0);
  Dims const axes = options.axis ? Dims{*options.axis} : all_axes(x);
  Tensor const joined = join_axes(op, x, axes);
  Tensor const lines = joined.reshape({joined.numel() / joined.shape().back(), joined.shape().back()});
  Indexed const sorted = sort(lines, 1);
  Tensor const rank = ranks(sorted.values.detach(), q.reshape({q.numel()}), skip_nan);  // [lines, quantiles]
  auto const at = [&](Tensor const& whole) { return pick(op, sorted.values, 1, whole.detach().to(Dtype::i64)); };
  auto const between = [&] {
    Tensor const low = floor(rank).detach();
    Tensor const weight =
        options.interpolation == QuantileInterpolation::midpoint ? full({}, 0.5, x.dtype(), x.device()) : rank - low;
    Tensor const below = at(low), above = at(ceil(rank)), step = above - below;
    return where(weight < 0.5, below + weight * step, above - step * (1.0 - weight));
  };
  Tensor y;  // [lines, quantiles]
  switch (options.interpolation) {
    case QuantileInterpolation::linear:
    case QuantileInterpolation::midpoint:
      y = between();
      break;
    case QuantileInterpolation::lower:
      y = at(floor(rank));
      break;
    case QuantileInterpolation::higher:
      y = at(ceil(rank));
      break;
    case QuantileInterpolation::nearest:
      y = at(round(rank));
      break;
  }
  Shape shape = reduced_shape(op, x, axes, options.keep);
  if (q.rank() == 1) shape.insert(0, q.numel());
  return y.t().reshape(shape);
}

}  // namespace

Tensor quantile(Tensor const& x, Tensor const& q, QuantileOptions const& options) {
  return quantiles("quantile", x, q, options, false);
}
Tensor nanquantile(Tensor const& x, Tensor const& q, QuantileOptions const& options) {
  return quantiles("nanquantile", x, q, options, true);
}
Tensor quantile(Tensor const& x, double q, QuantileOptions const& options) {
  check_defined("quantile", x);
  check_share("quantile", q);
  return quantile(x, full({}, q, x.dtype(), x.device()), options);
}
Tensor nanquantile(Tensor const& x, double q, QuantileOptions const& options) {
  check_defined("nanquantile", x);
  check_share("nanquantile", q);
  return nanquantile(x, full({}, q, x.dtype(), x.device()), options);
}

// ---- differences and integrals --------------------------------------------------------------------------------------

namespace {

/// f(next elements, elements) of neighbours along `axis`.
template <class F>
Tensor of_neighbours(Tensor const& x, int axis, F const& f) {
  int64_t const n = x.size(axis);
  return f(x.slice(axis, std::min(n, int64_t{1}), n), x.slice(axis, 0, n - 1));
}

Tensor steps(Tensor const& x, int axis) {
  return of_neighbours(x, axis, [&](Tensor const& next, Tensor const& here) {
    return x.dtype() == Dtype::boolean ? next != here : next - here;
  });
}

Tensor pair_sums(Tensor const& y, int axis) {
  return of_neighbours(y, axis, [](Tensor const& next, Tensor const& here) { return next + here; });
}

void check_axis(char const* op, Tensor const& x, int axis) {
  check_defined(op, x);
  normalize_axis(op, axis, x.rank());
}

/// Distances between the points x along the axis of y that they belong to.
Tensor distances(char const* op, Tensor const& y, Tensor const& x, int axis) {
  check_axis(op, y, axis);
  check_defined(op, x);
  int const a = normalize_axis(op, axis, y.rank());
  if (x.rank() == 1) {
    check(x.size(0) == y.size(a), op, [&] {
      return Complaint{fmt::format("{} points do not go with axis {} of shape {}", x.size(0), a, to_string(y.shape())),
                       "pass one point an element"};
    });
    Shape aligned = Dims::filled(y.rank() - a, 1);
    aligned[0] = x.size(0);
    return steps(x.reshape(aligned), 0);
  }
  check(x.rank() >= y.rank() - a, op, [&] {
    return Complaint{fmt::format("points of shape {} do not go with axis {} of shape {}", to_string(x.shape()), a,
                                 to_string(y.shape())),
                     "pass one point an element"};
  });
  return steps(x, a - y.rank());
}

}  // namespace

Tensor diff(Tensor const& x, int64_t n, int axis, Tensor const& prepend, Tensor const& append) {
  check_axis("diff", x, axis);
  check(n >= 0, "diff", [&] {
    return Complaint{fmt::format("expected n of 0 or more, got {}", n), "use cumsum for the other direction"};
  });
  if (n == 0) return x;
  std::vector<Tensor> parts;
  for (Tensor const* part : {&prepend, &x, &append})
    if (part->defined()) parts.push_back(*part);
  Tensor y = parts.size() > 1 ? cat(parts, axis) : x;
  for (int64_t i = 0; i < n && (i == 0 || y.size(axis) > 0); ++i) y = steps(y, axis);
  return y;
}

Tensor trapezoid(Tensor const& y, double dx, int axis) {
  check_axis("trapezoid", y, axis);
  Tensor const total = floating(sum(y, {axis}));
  if (y.size(axis) == 0) return total;
  return (total - floating(y.select(axis, 0) + y.select(axis, -1)) * 0.5) * dx;
}
Tensor trapezoid(Tensor const& y, Tensor const& x, int axis) {
  Tensor const dx = distances("trapezoid", y, x, axis);
  return sum(pair_sums(y, axis) * dx, {axis < 0 ? axis : axis - y.rank()}) * 0.5;
}
Tensor cumulative_trapezoid(Tensor const& y, double dx, int axis) {
  check_axis("cumulative_trapezoid", y, axis);
  return floating(cumsum(pair_sums(y, axis), axis)) * (dx / 2);
}
Tensor cumulative_trapezoid(Tensor const& y, Tensor const& x, int axis) {
  Tensor const dx = distances("cumulative_trapezoid", y, x, axis);
  return cumsum(pair_sums(y, axis) * dx, axis < 0 ? axis : axis - y.rank()) * 0.5;
}

namespace {

/// The derivative at every point, from the slopes of the intervals beside it, weighted so that parabolas are exact; at
/// both ends the slope there, for order 2 extended in the same way. gap(from, to): the lengths of these intervals, a
/// number or a tensor along the axis.
template <class Gap>
Tensor derivative(Tensor const& x, int axis, int edge_order, Gap const& gap) {
  int64_t const n = x.size(axis);
  Tensor const slopes = (x.slice(axis, 1, n) - x.slice(axis, 0, n - 1)) / gap(0, n - 1);
  auto const slope = [&](int64_t from, int64_t to) { return slopes.slice(axis, from, to); };
  auto const left = gap(0, n - 2), right = gap(1, n - 1);
  Tensor const inside = slope(0, n - 2) * (right / (left + right)) + slope(1, n - 1) * (left / (left + right));
  Tensor first = slope(0, 1), last = slope(n - 2, n - 1);
  if (edge_order == 2) {
    auto const a = gap(0, 1), b = gap(1, 2), c = gap(n - 3, n - 2), d = gap(n - 2, n - 1);
    first = first + (first - slope(1, 2)) * (a / (a + b));
    last = last + (last - slope(n - 3, n - 2)) * (d / (c + d));
  }
  return cat({first, inside, last}, axis);
}

Dims gradient_axes(Tensor const& x, GradientOptions const& options) {
  check_defined("gradient", x);
  check(options.edge_order == 1 || options.edge_order == 2, "gradient", [&] {
    return Complaint{fmt::format("expected an edge order of 1 or 2, got {}", options.edge_order), "pass one of them"};
  });
  Dims const axes = options.axes.value_or(all_axes(x));
  named("gradient", x, axes);
  for (int64_t axis : axes)
    check(x.size(int(axis)) > options.edge_order, "gradient", [&] {
      return Complaint{fmt::format("expected {} elements or more along axis {}, got shape {}", options.edge_order + 1,
                                   axis, to_string(x.shape())),
                       "pass more samples, or name other axes"};
    });
  return axes;
}

}  // namespace

std::vector<Tensor> gradient(Tensor const& x, double spacing, GradientOptions const& options) {
  std::vector<Tensor> list;
  for (int64_t axis : gradient_axes(x, options))
    list.push_back(derivative(floating(x), int(axis), options.edge_order, [=](int64_t, int64_t) { return spacing; }));
  return list;
}

std::vector<Tensor> gradient(Tensor const& x, std::vector<Tensor> const& points, GradientOptions const& options) {
  Dims const axes = gradient_axes(x, options);
  check(int(points.size()) == axes.rank(), "gradient", [&] {
    return Complaint{fmt::format("{} lists of points do not go with {} axes", points.size(), axes.rank()),
                     "pass the points along each axis"};
  });
  std::vector<Tensor> list;
  for (int i = 0; i < axes.rank(); ++i) {
    int const axis = normalize_axis("gradient", int(axes[i]), x.rank());
    Tensor const gaps = floating(distances("gradient", x, points[size_t(i)], axis));
    list.push_back(derivative(floating(x), axis, options.edge_order,
                              [&](int64_t from, int64_t to) { return gaps.slice(axis - x.rank(), from, to); }));
  }
  return list;
}

}  // namespace heed
