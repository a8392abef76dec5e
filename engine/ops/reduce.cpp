// Reductions over any axes: the axes are moved to the end and reduced as one.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/along.h>
#include <heed/engine/ops/reduce.h>
#include <heed/engine/ops/reduce_exact.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed {
namespace {

/// Where the reduced axes are, and x read as [outer, n, inner] with n the reduced elements.
struct Plan {
  Tensor x;  // contiguous in that reading
  int64_t outer = 1, n = 1, inner = 1;
  Shape kept;  // x's shape with size 1 along reduced axes
  Shape out;   // without them
};

Plan plan(char const* op, Tensor const& x, Dims const& axes) {
  check_defined(op, x);
  Named const reduced = named(op, x, axes);
  Plan p;
  p.kept = x.shape();
  int first = x.rank(), last = -1;
  for (int a = 0; a < x.rank(); ++a) {
    if (!reduced.axis[a]) {
      p.out.push_back(x.shape()[a]);
      continue;
    }
    p.kept[a] = 1;
    p.n *= x.shape()[a];
    first = std::min(first, a);
    last = a;
  }
  bool together = true;
  for (int a = first; a <= last; ++a) together &= reduced.axis[a];
  if (together) {
    p.x = x.detach().contiguous();
    for (int a = 0; a < first && a < x.rank(); ++a) p.outer *= x.shape()[a];
    for (int a = last + 1; a < x.rank() && last >= 0; ++a) p.inner *= x.shape()[a];
  } else {
    Dims order;
    for (int a = 0; a < x.rank(); ++a)
      if (!reduced.axis[a]) order.push_back(a);
    for (int a = 0; a < x.rank(); ++a)
      if (reduced.axis[a]) order.push_back(a);
    p.x = x.detach().permute(order).contiguous();
    p.outer = numel(p.out);
  }
  return p;
}

/// The axes behind the last one that stays between reduced ones; none where the reduced axes lie together.
Dims last_run(char const* op, Tensor const& x, Dims const& axes) {
  check_defined(op, x);
  Named const reduced = named(op, x, axes);
  Dims run;
  bool closed = false;
  for (int a = x.rank() - 1; a >= 0; --a) {
    if (x.shape()[a] == 1) continue;
    if (!reduced.axis[a])
      closed = run.rank() > 0;
    else if (closed)
      return run;
    else
      run.push_back(a);
  }
  return {};
}

Dims without(Tensor const& x, Dims const& axes, Dims const& gone) {
  Named const left_out = named("sum", x, gone);
  Dims rest;
  for (int64_t a : axes)
    if (!left_out.axis[a < 0 ? a + x.rank() : a]) rest.push_back(a);
  return rest;
}

Dims defined_axes(char const* op, Tensor const& x) {
  check_defined(op, x);
  return all_axes(x);
}

Tensor converted(char const* op, Tensor const& x, std::optional<Dtype> dtype) {
  check_defined(op, x);
  return dtype ? x.to(*dtype) : x;
}

/// One of the value reductions, of f32 or f64.
template <class Kernel>
Tensor reduce(char const* op, Plan const& p, Kernel kernel) {
  Tensor y(p.out, p.x.dtype(), p.x.device());
  Observed const watch(op, {&p.x}, {&y});
  dispatch_floating(op, p.x.dtype(), [&]<class T>(Type<T>) {
    auto const& table = kernels<ReduceKernels>(p.x.device(), op).of<T>();
    (table.*kernel.template member<T>())(p.x.address<T>(), y.address<T>(), p.outer, p.n, p.inner);
  });
  return y;
}

#define HEED_REDUCTION(Name, field)      \
  struct Name {                          \
    template <class T>                   \
    static constexpr auto member() {     \
      return &ReduceKernelsOf<T>::field; \
    }                                    \
  };
HEED_REDUCTION(SumKernel, sum)
HEED_REDUCTION(ProdKernel, prod)
HEED_REDUCTION(SumSquaresKernel, sum_squares)
HEED_REDUCTION(MaxKernel, max)
HEED_REDUCTION(MinKernel, min)
HEED_REDUCTION(LogsumexpKernel, logsumexp)
#undef HEED_REDUCTION

Tensor shaped(Tensor const& y, Plan const& p, bool keep) { return keep ? y.reshape(p.kept) : y; }

/// One of the reductions whose order does not matter.
Tensor reduce(char const* op, Plan const& p, Dtype dtype, ExactReductions::Reduce ExactReductions::*kernel) {
  Tensor y(p.out, dtype, p.x.device());
  Observed const watch(op, {&p.x}, {&y});
  auto const& table = kernels<ExactReduceKernels>(p.x.device(), op).of[int(p.x.dtype())];
  (table.*kernel)(p.x.address(), y.address(), p.outer, p.n, p.inner);
  return y;
}

}  // namespace

Tensor sum(Tensor const& operand, Dims const& axes, bool keep, std::optional<Dtype> dtype) {
  Tensor const x = converted("sum", operand, dtype);
  if (is_half(x.dtype())) return through_f32(x, [&](Tensor const& wide) { return sum(wide, axes, keep); });
  // Axes apart in turn, the last ones first, where x lies: together they would want a copy of it.
  if (Dims const run = last_run("sum", x, axes); run.rank() > 0 && x.is_contiguous()) {
    Tensor const rest = sum(sum(x, run, true, dtype), without(x, axes, run), true, dtype);
    return keep ? rest : squeeze(rest, axes);
  }
  Plan const p = plan("sum", x, axes);
  if (!is_floating(x.dtype()))
    return converted("sum", shaped(reduce("sum", p, Dtype::i64, &ExactReductions::sum), p, keep), dtype);
  Tensor y = shaped(reduce("sum", p, SumKernel{}), p, keep);
  if (tracked(x))
    record("sum", y, {&x}, [kept = p.kept, shape = x.shape()](Tensor const& g, Node const&) {
      return std::array{g.reshape(kept).expand(shape)};
    });
  return y;
}

Tensor sum(Tensor const& x) { return sum(x, defined_axes("sum", x)); }

Tensor sum_squares(Tensor const& x, Dims const& axes, bool keep) {
  Plan const p = plan("sum_squares", x, axes);
  Tensor y = shaped(reduce("sum_squares", p, SumSquaresKernel{}), p, keep);
  if (tracked(x))
    record("sum_squares", y, {&x}, [x = Saved(x), kept = p.kept](Tensor const& g, Node const& node) {
      return std::array{g.reshape(kept) * 2.0 * x.get(node)};
    });
  return y;
}

Tensor mean(Tensor const& operand, Dims const& axes, bool keep, std::optional<Dtype> dtype) {
  Tensor const x = converted("mean", operand, dtype);
  if (is_half(x.dtype())) return through_f32(x, [&](Tensor const& wide) { return mean(wide, axes, keep); });
  if (!is_floating(x.dtype())) detail::unsupported_dtype("mean", x.dtype(), "f32 or f64");
  return sum(x, axes, keep) * (1.0 / double(count_along("mean", x, axes)));
}

Tensor mean(Tensor const& x) { return mean(x, defined_axes("mean", x)); }

Tensor sum_to(Tensor const& x, Shape const& shape) {
  check_defined("sum_to", x);
  if (x.shape() == shape) return x;
  check(broadcast("sum_to", shape, x.shape()) == x.shape(), "sum_to", [&] {
    return Complaint{fmt::format("{} does not broadcast to {}", to_string(shape), to_string(x.shape())),
                     "pass the shape that was broadcast"};
  });
  Dims axes;
  int const extra = x.rank() - shape.rank();
  for (int a = 0; a < x.rank(); ++a)
    if (a < extra || (shape[a - extra] == 1 && x.shape()[a] != 1)) axes.push_back(a);
  return sum(x, axes, true).reshape(shape);
}

namespace {

/// Records that y is the element of x that a reduction over `axes` chose: g is shared equally by those that equal it,
/// and by NaNs among themselves if `share_nan`; otherwise NaN spoils the gradient, as in PyTorch.
void record_shared(char const* op, Tensor& y, Tensor const& x, Dims const& axes, Shape const& kept, bool share_nan) {
  record(op, y, {&x}, [x = Saved(x), best = y.detach(), kept, axes, share_nan](Tensor const& g, Node const& node) {
    Tensor const from = x.get(node).detach(), one = best.reshape(kept);
    Tensor mask = from == one;
    if (share_nan) mask = mask | ((from != from) & (one != one));
    Tensor const chosen = mask.to(from.dtype());
    return std::array{g.reshape(kept) * (chosen / sum(chosen, axes, true))};
  });
}

Tensor extreme(char const* op, Tensor const& x, Dims const& axes, bool keep, bool largest, bool share_nan = false) {
  check_defined(op, x);
  if (is_half(x.dtype()))
    return through_f32(x, [&](Tensor const& wide) { return extreme(op, wide, axes, keep, largest, share_nan); });
  Plan const p = plan(op, x, axes);
  check_not_empty(op, x, p.n == 0 && p.outer * p.inner > 0);
  if (!is_floating(x.dtype()))
    return shaped(reduce(op, p, x.dtype(), largest ? &ExactReductions::max : &ExactReductions::min), p, keep);
  Tensor y = shaped(largest ? reduce(op, p, MaxKernel{}) : reduce(op, p, MinKernel{}), p, keep);
  if (tracked(x)) record_shared(op, y, x, axes, p.kept, share_nan);
  return y;
}

/// The same of integers on an accelerator: the first place that equals the extreme.
Tensor find_equal(char const* op, Tensor const& x, int axis, bool keep, bool largest) {
  if (x.rank() == 0) return zeros({}, Dtype::i64, x.device());
  int64_t const n = x.size(axis);
  Shape along = Dims::filled(x.rank(), 1);
  along[normalize_axis(op, axis, x.rank())] = n;
  Tensor const best = extreme(op, x, {axis}, true, largest);
  return extreme(op, where(x == best, arange(n, x.device()).reshape(along), n), {axis}, keep, false);
}

/// First place of the largest (smallest) element of any type, i64.
Tensor find(char const* op, Tensor const& operand, int axis, bool keep, bool largest) {
  check_defined(op, operand);
  Tensor const x = computed(operand);
  Plan const p = plan(op, x, {axis});
  check_not_empty(op, x, p.n == 0 && p.outer * p.inner > 0);
  if (!is_floating(x.dtype()) && !x.device().is_cpu()) return find_equal(op, x, axis, keep, largest);
  Tensor y(p.out, Dtype::i64, x.device());
  Observed const watch(op, {&p.x}, {&y});
  int64_t* const to = y.address<int64_t>();
  dispatch_computed(op, x.dtype(), [&]<class T>(Type<T>) {
    if constexpr (std::is_floating_point_v<T>) {
      auto const& kernels = heed::kernels<ReduceKernels>(x.device(), op).of<T>();
      (largest ? kernels.argmax : kernels.argmin)(p.x.address<T>(), to, p.outer, p.n, p.inner);
    } else {
      auto const* const from = static_cast<T const*>(p.x.raw());
      int64_t const lines = p.outer * p.inner;
      parallel_for(lines, std::max(16384 / std::max(p.n, int64_t{1}), int64_t{1}), [&](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
          T const* const at = from + line / p.inner * p.n * p.inner + line % p.inner;
          int64_t best = 0;
          for (int64_t k = 1; k < p.n; ++k) {
            T const v = at[k * p.inner], top = at[best * p.inner];
            if (largest ? v > top : v < top) best = k;
          }
          to[line] = best;
        }
      });
    }
  });
  return shaped(y, p, keep);
}

Tensor argument(char const* op, Tensor const& x, int axis, bool keep, bool largest) {
  check_defined(op, x);
  if (x.dtype() == Dtype::boolean) detail::unsupported_dtype(op, x.dtype(), "numbers");
  return find(op, x, axis, keep, largest);
}

Indexed extreme_at(char const* op, Tensor const& x, int axis, bool keep, bool largest) {
  Tensor const places = find(op, x, axis, true, largest), values = pick(op, x, axis, places);
  if (keep || x.rank() == 0) return {values, places};
  return {values.squeeze(axis), places.squeeze(axis)};
}

/// The median of all elements, which those equal to it share the gradient of; NaN of none.
Tensor median_of_all(char const* op, Tensor const& x, bool skip_nan) {
  check_defined(op, x);
  if (is_floating(x.dtype()) && x.numel() == 0) return sum(x) + std::numeric_limits<double>::quiet_NaN();
  Tensor const flat = x.detach().reshape({x.numel()});
  Tensor y = (skip_nan ? nanmedian(flat, 0) : median(flat, 0)).values;
  if (tracked(x)) record_shared(op, y, x, all_axes(x), Dims::filled(x.rank(), 1), true);
  return y;
}

}  // namespace

Tensor amax(Tensor const& x, Dims const& axes, bool keep) { return extreme("amax", x, axes, keep, true); }
Tensor amin(Tensor const& x, Dims const& axes, bool keep) { return extreme("amin", x, axes, keep, false); }

Tensor max(Tensor const& x) { return extreme("max", x, defined_axes("max", x), false, true, true); }
Tensor min(Tensor const& x) { return extreme("min", x, defined_axes("min", x), false, false, true); }
Indexed max(Tensor const& x, int axis, bool keep) { return extreme_at("max", x, axis, keep, true); }
Indexed min(Tensor const& x, int axis, bool keep) { return extreme_at("min", x, axis, keep, false); }

MinMax aminmax(Tensor const& x) {
  check_defined("aminmax", x);
  return {extreme("aminmax", x, all_axes(x), false, false), extreme("aminmax", x, all_axes(x), false, true)};
}
MinMax aminmax(Tensor const& x, int axis, bool keep) {
  return {extreme("aminmax", x, {axis}, keep, false), extreme("aminmax", x, {axis}, keep, true)};
}

Tensor argmax(Tensor const& x, int axis, bool keep) { return argument("argmax", x, axis, keep, true); }
Tensor argmin(Tensor const& x, int axis, bool keep) { return argument("argmin", x, axis, keep, false); }
Tensor argmax(Tensor const& x) { return argmax(join_axes("argmax", x, defined_axes("argmax", x)), 0); }
Tensor argmin(Tensor const& x) { return argmin(join_axes("argmin", x, defined_axes("argmin", x)), 0); }

Tensor median(Tensor const& x) { return median_of_all("median", x, false); }
Tensor nanmedian(Tensor const& x) { return median_of_all("nanmedian", x, true); }

namespace {

/// bool, but u8 for u8, as in PyTorch. NaN counts as true.
Tensor truth(char const* op, Tensor const& x, Dims const& axes, bool keep, bool all) {
  Plan const p = plan(op, x, axes);
  Tensor const y = shaped(reduce(op, p, Dtype::boolean, all ? &ExactReductions::all : &ExactReductions::any), p, keep);
  return x.dtype() == Dtype::u8 ? y.to(Dtype::u8) : y;
}

}  // namespace

Tensor any(Tensor const& x, Dims const& axes, bool keep) { return truth("any", x, axes, keep, false); }
Tensor all(Tensor const& x, Dims const& axes, bool keep) { return truth("all", x, axes, keep, true); }
Tensor any(Tensor const& x) { return any(x, defined_axes("any", x)); }
Tensor all(Tensor const& x) { return all(x, defined_axes("all", x)); }

Tensor count_nonzero(Tensor const& x, Dims const& axes) {
  return reduce("count_nonzero", plan("count_nonzero", x, axes), Dtype::i64, &ExactReductions::count_true);
}
Tensor count_nonzero(Tensor const& x) { return count_nonzero(x, defined_axes("count_nonzero", x)); }

namespace {

/// Whether no element is 0, so small that it lost digits, infinite or NaN.
bool ordinary(Tensor const& x) {
  return dispatch_floating("prod", x.dtype(), [&]<class T>(Type<T>) {
    Tensor const whole = x.detach().contiguous();
    T const* const xs = whole.data<T>();
    return std::all_of(xs, xs + whole.numel(), [](T v) {
      return std::abs(v) >= std::numeric_limits<T>::min() && std::abs(v) <= std::numeric_limits<T>::max();
    });
  });
}

/// ∂ Π x/∂x_j = Π_{i<j} x_i · Π_{i>j} x_i, by two scans: no division, so zeros are safe.
Tensor products_of_others(Tensor const& x, int axis) {
  int64_t const n = x.size(axis);
  Tensor const one = ones(x.slice(axis, 0, 1).shape(), x.dtype(), x.device()),
               none = zeros(one.shape(), x.dtype(), x.device());
  Tensor const before = cat({one, cumprod(x.slice(axis, 0, n - 1), axis)}, axis);
  Tensor const factors = cat({x.slice(axis, 1, n), none}, axis);
  Tensor const start = cat({zeros(x.slice(axis, 1, n).shape(), x.dtype(), x.device()), one}, axis);
  return before * recurrence(factors, start, axis, true);
}

Tensor prod_along(Tensor const& x, int axis, bool keep) {
  Plan const p = plan("prod", x, {axis});
  if (!is_floating(x.dtype())) return shaped(reduce("prod", p, Dtype::i64, &ExactReductions::prod), p, keep);
  Tensor y = shaped(reduce("prod", p, ProdKernel{}), p, keep);
  if (tracked(x))
    record("prod", y, {&x}, [x = Saved(x), y = SavedOutput(y), axis, kept = p.kept](Tensor const& g, Node const& node) {
      Tensor const from = x.get(node), all = y.get(node);
      if (from.rank() == 0) return std::array{g};
      if (all.device().is_cpu() && ordinary(all)) return std::array{(g * all).reshape(kept) / from};
      return std::array{g.reshape(kept) * products_of_others(from, axis)};
    });
  return y;
}

}  // namespace

Tensor prod(Tensor const& operand, Dims const& axes, bool keep, std::optional<Dtype> dtype) {
  Tensor const x = converted("prod", operand, dtype);
  if (is_half(x.dtype())) return through_f32(x, [&](Tensor const& wide) { return prod(wide, axes, keep); });
  if (axes.rank() == 1) return converted("prod", prod_along(x, int(axes[0]), keep), dtype);
  Tensor const y = prod_along(join_axes("prod", x, axes), -1, false);
  return converted("prod", y.reshape(reduced_shape("prod", x, axes, keep)), dtype);
}
Tensor prod(Tensor const& x) { return prod(x, defined_axes("prod", x)); }

Tensor logsumexp(Tensor const& operand, Dims const& axes, bool keep) {
  check_defined("logsumexp", operand);
  if (is_half(operand.dtype())) return logsumexp(operand.to(Dtype::f32), axes, keep).to(autocast_wide(operand.dtype()));
  Tensor const x = is_floating(operand.dtype()) ? operand : operand.to(Dtype::f32);
  Plan const p = plan("logsumexp", x, axes);
  Tensor y = shaped(reduce("logsumexp", p, LogsumexpKernel{}), p, keep);
  if (tracked(x))
    record("logsumexp", y, {&x}, [x = Saved(x), y = SavedOutput(y), kept = p.kept](Tensor const& g, Node const& node) {
      // e^(x − y), and 0 where a row holds nothing but −∞.
      Tensor const top = y.get(node).reshape(kept);
      Tensor const finite = where(top == -std::numeric_limits<double>::infinity(), 0.0, top);
      return std::array{g.reshape(kept) * exp(x.get(node) - finite)};
    });
  return y;
}

}  // namespace heed
