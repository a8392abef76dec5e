// Scans along one axis: sums, products, extremes, and the linear recurrence that their gradients are made of.
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/along.h>
#include <heed/engine/ops/cumulative.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace heed {
namespace {

constexpr int64_t tile = 64;      // columns that are scanned together
constexpr int64_t grain = 16384;  // elements a chunk

/// step(state, element, place) for `count` lines that begin `apart` elements from each other and go on every `stride`.
template <class State, int64_t most, class Step>
void scan_together(int64_t from, int64_t count, int64_t apart, int64_t n, int64_t stride, bool reverse,
                   Step const& step) {
  State state[most] = {};
  for (int64_t t = 0; t < n; ++t) {
    int64_t const k = reverse ? n - 1 - t : t;
    for (int64_t j = 0; j < count; ++j) step(state[j], from + j * apart + k * stride, k);
  }
}

/// step(state, element, place) along the axis, first to last or in reverse, with a State of its own for every line.
template <class State, class Step>
void scan_lines(Along const& r, bool reverse, Step const& step) {
  if (r.inner == 1) {
    constexpr int64_t rows = 4;  // chains of additions side by side
    int64_t const tasks = (r.outer + rows - 1) / rows;
    parallel_for(tasks, std::max(grain / std::max(rows * r.n, int64_t{1}), int64_t{1}),
                 [&](int64_t begin, int64_t end) {
                   int64_t row = begin * rows, last = std::min(end * rows, r.outer);
                   for (; row + rows <= last; row += rows)
                     scan_together<State, rows>(row * r.n, rows, r.n, r.n, 1, reverse, step);
                   for (; row < last; ++row) scan_together<State, 1>(row * r.n, 1, 0, r.n, 1, reverse, step);
                 });
    return;
  }
  int64_t const tiles = (r.inner + tile - 1) / tile, width = std::min(r.inner, tile);
  int64_t const size = std::max(r.n * width, int64_t{1});
  parallel_for(r.outer * tiles, std::max(grain / size, int64_t{1}), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      int64_t const column = task % tiles * tile;
      scan_together<State, tile>(task / tiles * r.n * r.inner + column, std::min(r.inner - column, tile), 1, r.n,
                                 r.inner, reverse, step);
    }
  });
}

/// What a scan adds up in: the wider type, where integers wrap.
template <class T>
using Wide = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

DeviceCumulativeKernels const& on(char const* op, Tensor const& x) {
  return device_kernels<DeviceCumulativeKernels>(x.device(), op);
}
ScanAxis axis_of(Along const& r, bool reverse = false) { return {r.outer, r.n, r.inner, reverse}; }

template <class T>
struct Total {
  Wide<T> value = 0;
};
template <class T>
struct Product {
  Wide<T> value = 1;
};

/// f(x) in `dtype`, or x's own type: integers and bools are scanned as i64 and remain it, 16 bits as f32.
template <class F>
Tensor widened(Tensor const& x, std::optional<Dtype> dtype, F const& f) {
  Tensor const typed = dtype ? x.to(*dtype) : x;
  if (is_half(typed.dtype())) return through_f32(typed, f);
  Tensor const y = f(is_floating(typed.dtype()) ? typed : typed.to(Dtype::i64));
  return dtype ? y.to(*dtype) : y;
}

template <class F>
void dispatch_widened(char const* op, Dtype d, F const& f) {
  if (d == Dtype::i64) return f(Type<int64_t>{});
  dispatch_floating(op, d, f);
}

Tensor scan_sum(Tensor const& x, int axis, bool reverse) {
  Along const r = along("cumsum", x, axis);
  Tensor y(x.shape(), x.dtype(), x.device());
  Observed const watch("cumsum", {&r.x}, {&y});
  dispatch_widened("cumsum", x.dtype(), [&]<class T>(Type<T>) {
    if (!x.device().is_cpu()) return on("cumsum", x).sum(x.dtype(), r.x.address(), y.address(), axis_of(r, reverse));
    auto const* const xs = static_cast<T const*>(r.x.raw());
    auto* const ys = static_cast<T*>(y.raw());
    scan_lines<Total<T>>(r, reverse, [=](Total<T>& s, int64_t e, int64_t) { ys[e] = T(s.value += Wide<T>(xs[e])); });
  });
  if (tracked(x))
    record("cumsum", y, {&x},
           [axis, reverse](Tensor const& g, Node const&) { return std::array{scan_sum(g, axis, !reverse)}; });
  return y;
}

/// `first`, then all of x but its last along `axis`: what came before each element.
Tensor before(Tensor const& x, int axis, double first) {
  Tensor const head = full(x.slice(axis, 0, 1).shape(), first, x.dtype(), x.device());
  return cat({head, x.slice(axis, 0, x.size(axis) - 1)}, axis);
}
/// All of x but its first along `axis`, then 0: what comes behind each element.
Tensor behind(Tensor const& x, int axis) {
  return cat({x.slice(axis, 1, x.size(axis)), zeros(x.slice(axis, 0, 1).shape(), x.dtype(), x.device())}, axis);
}

template <class T>
struct Best {
  T value{};
  int64_t at = -1;
};

/// Lines end to end. A new best is rare in most: a branch is cheaper than a chain of selections.
template <bool largest, class T>
void running_lines(T const* x, T* values, int64_t* places, int64_t lines, int64_t n) {
  parallel_for(lines, std::max(grain / n, int64_t{1}), [=](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      T const* const from = x + line * n;
      T* const to = values + line * n;
      int64_t* const at = places + line * n;
      for (int64_t k = 0, best = 0; k < n; best = k) {
        // v takes over where it is NaN, or none that it equals or beats is NaN.
        T const top = from[best = k];
        auto const takes = [top](T v) { return v != v || (largest ? v >= top : v <= top); };
        do {
          to[k] = top;
          at[k] = best;
        } while (++k < n && !takes(from[k]));
      }
    }
  });
}

/// The last of equals, and once a NaN came the last NaN, as in PyTorch.
template <bool largest>
Indexed running(char const* op, Tensor const& x, int axis) {
  check_defined(op, x);
  Along const r = along(op, computed(x), axis);
  Tensor places(x.shape(), Dtype::i64, x.device());
  Observed const watch(op, {&r.x}, {&places});
  if (!x.device().is_cpu()) {
    on(op, x).extreme(r.x.dtype(), largest, r.x.address(), places.address<int64_t>(), axis_of(r));
    return {pick(op, x, axis, places), places};
  }
  int64_t* const to = places.data<int64_t>();
  if (r.inner == 1 && !tracked(x) && places.numel() > 0) {
    Tensor const values(x.shape(), r.x.dtype());
    dispatch_computed(op, r.x.dtype(), [&]<class T>(Type<T>) {
      running_lines<largest>(static_cast<T const*>(r.x.raw()), static_cast<T*>(values.raw()), to, r.outer, r.n);
    });
    return {values.to(x.dtype()), places};
  }
  dispatch_computed(op, r.x.dtype(), [&]<class T>(Type<T>) {
    auto const* const xs = static_cast<T const*>(r.x.raw());
    scan_lines<Best<T>>(r, false, [=](Best<T>& best, int64_t e, int64_t k) {
      T const v = xs[e];
      bool const nan = best.value != best.value;
      if (best.at < 0 || v != v || (!nan && (largest ? v >= best.value : v <= best.value))) best = {v, k};
      to[e] = best.at;
    });
  });
  return {pick(op, x, axis, places), places};
}

struct LogSum {
  double top = -std::numeric_limits<double>::infinity(), sum = 0;  // log Σ = top + log sum
  double add(double x) {
    if (x == top) {
      if (sum > 0) sum += 1;
    } else if (x > top) {
      sum = sum * std::exp(top - x) + 1;
      top = x;
    } else {
      sum += std::exp(x - top);
    }
    return top + std::log(sum);
  }
};

}  // namespace

Tensor recurrence(Tensor const& a, Tensor const& b, int axis, bool reverse) {
  Along const r = along("recurrence", b, axis);
  Tensor const factors = a.detach().contiguous();
  Tensor y(b.shape(), b.dtype(), b.device());
  Observed const watch("recurrence", {&factors, &r.x}, {&y});
  dispatch_floating("recurrence", b.dtype(), [&]<class T>(Type<T>) {
    if (!b.device().is_cpu())
      return on("recurrence", b)
          .recurrence(b.dtype(), factors.address(), r.x.address(), y.address(), axis_of(r, reverse));
    T const *const as = factors.data<T>(), *const bs = r.x.data<T>();
    T* const ys = y.data<T>();
    int64_t const first = reverse ? r.n - 1 : 0;
    scan_lines<T>(r, reverse, [=](T& h, int64_t e, int64_t k) { ys[e] = h = k == first ? bs[e] : as[e] * h + bs[e]; });
  });
  if (tracked(a, b))
    record("recurrence", y, {&a, &b},
           [a = Saved(a), y = SavedOutput(y), axis, reverse](Tensor const& g, Node const& node) {
             Tensor const from = a.get(node), h = y.get(node);
             if (from.size(axis) == 0) return std::array{zeros_like(from), g};
             Tensor const carried = recurrence(reverse ? before(from, axis, 0) : behind(from, axis), g, axis, !reverse);
             std::array<Tensor, 2> d;
             if (node.needs(0)) d[0] = carried * (reverse ? behind(h, axis) : before(h, axis, 0));
             d[1] = carried;
             return d;
           });
  return y;
}

Tensor cumsum(Tensor const& x, int axis, std::optional<Dtype> dtype) {
  check_defined("cumsum", x);
  return widened(x, dtype, [axis](Tensor const& wide) { return scan_sum(wide, axis, false); });
}

namespace {

Tensor scan_product(Tensor const& x, int axis) {
  Along const r = along("cumprod", x, axis);
  Tensor y(x.shape(), x.dtype(), x.device());
  Observed const watch("cumprod", {&r.x}, {&y});
  dispatch_widened("cumprod", x.dtype(), [&]<class T>(Type<T>) {
    if (!x.device().is_cpu()) return on("cumprod", x).product(x.dtype(), r.x.address(), y.address(), axis_of(r));
    auto const* const xs = static_cast<T const*>(r.x.raw());
    auto* const ys = static_cast<T*>(y.raw());
    scan_lines<Product<T>>(r, false, [=](Product<T>& p, int64_t e, int64_t) { ys[e] = T(p.value *= Wide<T>(xs[e])); });
  });
  if (tracked(x))
    record("cumprod", y, {&x}, [x = Saved(x), y = SavedOutput(y), axis](Tensor const& g, Node const& node) {
      // ∂/∂x_k = y_{k−1}·r_k, r_k = Σ_{i≥k} g_i·Π_{k<j≤i} x_j = g_k + x_{k+1}·r_{k+1}: no division, so zeros are safe.
      Tensor const from = x.get(node);
      if (from.size(axis) == 0) return std::array{zeros_like(from)};
      return std::array{before(y.get(node), axis, 1) * recurrence(behind(from, axis), g, axis, true)};
    });
  return y;
}

}  // namespace

Tensor cumprod(Tensor const& x, int axis, std::optional<Dtype> dtype) {
  check_defined("cumprod", x);
  if (x.rank() == 0) return cumprod(x.reshape({1}), axis, dtype).reshape({});
  return widened(x, dtype, [axis](Tensor const& wide) { return scan_product(wide, axis); });
}

Indexed cummax(Tensor const& x, int axis) { return running<true>("cummax", x, axis); }
Indexed cummin(Tensor const& x, int axis) { return running<false>("cummin", x, axis); }

Tensor logcumsumexp(Tensor const& x, int axis) {
  check_defined("logcumsumexp", x);
  if (x.rank() == 0) return logcumsumexp(x.reshape({1}), axis).reshape({});
  if (is_half(x.dtype())) return through_f32(x, [=](Tensor const& wide) { return logcumsumexp(wide, axis); });
  Along const r = along("logcumsumexp", x, axis);
  Tensor y(x.shape(), x.dtype(), x.device());
  Observed const watch("logcumsumexp", {&r.x}, {&y});
  dispatch_floating("logcumsumexp", x.dtype(), [&]<class T>(Type<T>) {
    if (!x.device().is_cpu()) return on("logcumsumexp", x).logsumexp(x.dtype(), r.x.address(), y.address(), axis_of(r));
    T const* const xs = r.x.data<T>();
    T* const ys = y.data<T>();
    scan_lines<LogSum>(r, false, [=](LogSum& s, int64_t e, int64_t) { ys[e] = T(s.add(double(xs[e]))); });
  });
  if (tracked(x))
    record("logcumsumexp", y, {&x}, [x = Saved(x), y = SavedOutput(y), axis](Tensor const& g, Node const& node) {
      // ∂/∂x_k = e^(x_k − y_k)·r_k, r_k = Σ_{i≥k} g_i·e^(y_k − y_i) = g_k + e^(y_k − y_{k+1})·r_{k+1}: y rises, so
      // that no power exceeds 1; where sums are still 0 nothing is carried.
      Tensor const from = x.get(node), total = y.get(node);
      int64_t const n = from.size(axis);
      if (n == 0) return std::array{zeros_like(from)};
      constexpr double infinity = std::numeric_limits<double>::infinity();
      auto const difference = [](Tensor const& a, Tensor const& b) {
        return where((a == infinity) & (b == infinity), 0.0, a - b);
      };
      Tensor const nothing = total == -infinity, finite = where(nothing, 0.0, total);
      Tensor const next = cat({finite.slice(axis, 1, n), finite.slice(axis, n - 1, n)}, axis);
      Tensor const share = exp(where(nothing, -infinity, difference(from, finite)));
      Tensor const link = exp(where(nothing, -infinity, difference(finite, next)));
      return std::array{share * recurrence(link, g, axis, true)};
    });
  return y;
}

}  // namespace heed
