// Reductions over any axes: the axes are moved to the end and reduced as one.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/reduce.h>
#include <heed/engine/tape.h>

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
  bool reduced[Dims::max_rank] = {};
  for (int64_t axis : axes) {
    int const a = normalize_axis(op, int(axis), x.rank());
    check(!reduced[a], op, [&] {
      return Complaint{fmt::format("axis {} is named twice in {}", a, to_string(axes)), "name each axis once"};
    });
    reduced[a] = true;
  }
  Plan p;
  p.kept = x.shape();
  int first = x.rank(), last = -1;
  for (int a = 0; a < x.rank(); ++a) {
    if (!reduced[a]) {
      p.out.push_back(x.shape()[a]);
      continue;
    }
    p.kept[a] = 1;
    p.n *= x.shape()[a];
    first = std::min(first, a);
    last = a;
  }
  bool together = true;
  for (int a = first; a <= last; ++a) together &= reduced[a];
  if (together) {
    p.x = x.detach().contiguous();
    for (int a = 0; a < first && a < x.rank(); ++a) p.outer *= x.shape()[a];
    for (int a = last + 1; a < x.rank() && last >= 0; ++a) p.inner *= x.shape()[a];
  } else {
    Dims order;
    for (int a = 0; a < x.rank(); ++a)
      if (!reduced[a]) order.push_back(a);
    for (int a = 0; a < x.rank(); ++a)
      if (reduced[a]) order.push_back(a);
    p.x = x.detach().permute(order).contiguous();
    p.outer = numel(p.out);
  }
  return p;
}

Dims all_axes(Tensor const& x) {
  Dims axes;
  for (int a = 0; a < x.rank(); ++a) axes.push_back(a);
  return axes;
}

void check_not_empty(char const* op, Plan const& p, Tensor const& x) {
  check(p.n > 0 || p.outer * p.inner == 0, op, [&] {
    return Complaint{fmt::format("the reduced axes of shape {} hold no element", to_string(x.shape())),
                     "reduce over axes of size 1 or more"};
  });
}

/// One of the value reductions, of f32 or f64.
template <class Kernel>
Tensor reduce(char const* op, Plan const& p, Kernel kernel) {
  Tensor y(p.out, p.x.dtype());
  Observed const watch(op, {&p.x}, {&y});
  dispatch_floating(op, p.x.dtype(), [&]<class T>(Type<T>) {
    (kernels<ReduceKernels>().of<T>().*kernel.template member<T>())(p.x.data<T>(), y.data<T>(), p.outer, p.n, p.inner);
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
HEED_REDUCTION(MaxKernel, max)
HEED_REDUCTION(MinKernel, min)
HEED_REDUCTION(LogsumexpKernel, logsumexp)
HEED_REDUCTION(ArgmaxKernel, argmax)
HEED_REDUCTION(ArgminKernel, argmin)
#undef HEED_REDUCTION

Tensor shaped(Tensor const& y, Plan const& p, bool keep) { return keep ? y.reshape(p.kept) : y; }

/// Sums of integers and bools are i64, as in PyTorch.
Tensor sum_integers(Plan const& p) {
  Tensor y = zeros(p.out, Dtype::i64);
  Observed const watch("sum", {&p.x}, {&y});
  dispatch(p.x.dtype(), [&]<class T>(Type<T>) {
    auto const* from = static_cast<T const*>(p.x.raw());
    auto* to = y.data<int64_t>();
    for (int64_t o = 0; o < p.outer; ++o)
      for (int64_t k = 0; k < p.n; ++k)
        for (int64_t i = 0; i < p.inner; ++i) to[o * p.inner + i] += int64_t(*from++);
  });
  return y;
}

}  // namespace

Tensor sum(Tensor const& x, Dims const& axes, bool keep) {
  Plan const p = plan("sum", x, axes);
  if (!is_floating(x.dtype())) return shaped(sum_integers(p), p, keep);
  Tensor y = shaped(reduce("sum", p, SumKernel{}), p, keep);
  if (tracked(x))
    record("sum", y, {&x}, [kept = p.kept, shape = x.shape()](Tensor const& g, Node const&) {
      return std::array{g.reshape(kept).expand(shape)};
    });
  return y;
}

Tensor sum(Tensor const& x) {
  check_defined("sum", x);
  return sum(x, all_axes(x));
}

Tensor mean(Tensor const& x, Dims const& axes, bool keep) {
  check_defined("mean", x);
  if (!is_floating(x.dtype())) detail::unsupported_dtype("mean", x.dtype(), "f32 or f64");
  int64_t n = 1;
  for (int64_t axis : axes) n *= x.size(int(axis));
  return sum(x, axes, keep) * (1.0 / double(n));
}

Tensor mean(Tensor const& x) {
  check_defined("mean", x);
  return mean(x, all_axes(x));
}

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

/// The gradient of max and min: g shared equally by the elements that equal the result.
template <class Kernel>
Tensor extreme(char const* op, Tensor const& x, Dims const& axes, bool keep, Kernel kernel) {
  Plan const p = plan(op, x, axes);
  check_not_empty(op, p, x);
  Tensor y = shaped(reduce(op, p, kernel), p, keep);
  if (tracked(x))
    record(op, y, {&x}, [x = Saved(x), best = y.detach(), kept = p.kept, axes](Tensor const& g, Node const& node) {
      Tensor const from = x.get(node).detach();
      Tensor const chosen = (from == best.reshape(kept)).to(from.dtype());
      return std::array{g.reshape(kept) * (chosen / sum(chosen, axes, true))};
    });
  return y;
}

template <class Kernel>
Tensor find(char const* op, Tensor const& x, int axis, bool keep, Kernel kernel) {
  Plan const p = plan(op, x, {axis});
  check_not_empty(op, p, x);
  Tensor y(p.out, Dtype::i64);
  Observed const watch(op, {&p.x}, {&y});
  dispatch_floating(op, x.dtype(), [&]<class T>(Type<T>) {
    (kernels<ReduceKernels>().of<T>().*kernel.template member<T>())(p.x.data<T>(), y.data<int64_t>(), p.outer, p.n,
                                                                    p.inner);
  });
  return shaped(y, p, keep);
}

}  // namespace

Tensor amax(Tensor const& x, Dims const& axes, bool keep) { return extreme("amax", x, axes, keep, MaxKernel{}); }
Tensor amin(Tensor const& x, Dims const& axes, bool keep) { return extreme("amin", x, axes, keep, MinKernel{}); }
Tensor argmax(Tensor const& x, int axis, bool keep) { return find("argmax", x, axis, keep, ArgmaxKernel{}); }
Tensor argmin(Tensor const& x, int axis, bool keep) { return find("argmin", x, axis, keep, ArgminKernel{}); }

Tensor prod(Tensor const& x, int axis, bool keep) {
  Plan const p = plan("prod", x, {axis});
  Tensor y = shaped(reduce("prod", p, ProdKernel{}), p, keep);
  if (tracked(x))
    record("prod", y, {&x}, [x = Saved(x), axis, kept = p.kept](Tensor const& g, Node const& node) {
      // ∂/∂x_j = Π_{i≠j} x_i, from products of the others, so that zeros need no division.
      Tensor const from = x.get(node);
      int64_t const n = from.size(axis);
      std::vector<Tensor> others;
      for (int64_t j = 0; j < n; ++j)
        others.push_back(prod(cat({from.slice(axis, 0, j), from.slice(axis, j + 1, n)}, axis), axis, true));
      return std::array{n == 0 ? zeros_like(from) : g.reshape(kept) * cat(others, axis)};
    });
  return y;
}

Tensor logsumexp(Tensor const& x, int axis, bool keep) {
  Plan const p = plan("logsumexp", x, {axis});
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
