// One axis of a tensor: readings, and elements picked along it by index.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/along.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>

namespace heed {
namespace {

constexpr int64_t grain = 16384;  // elements a chunk

/// The adjoint of pick: g added into zeros of `shape` at the indices, in order.
Tensor unpick(Tensor const& g, Shape const& shape, int axis, Tensor const& index) {
  if (is_half(g.dtype())) return through_f32(g, [&](Tensor const& wide) { return unpick(wide, shape, axis, index); });
  Tensor y = zeros(shape, g.dtype());
  Observed const watch("unpick", {&g, &index}, {&y});
  Along const from = along("unpick", g, axis), to = along("unpick", y, axis);
  Tensor const at = index.contiguous();
  dispatch_floating("unpick", g.dtype(), [&]<class T>(Type<T>) {
    T const* const gs = from.x.data<T>();
    T* const ys = y.data<T>();
    int64_t const* const ks = at.data<int64_t>();
    int64_t const size = from.n * from.inner;
    parallel_for(from.outer, std::max(grain / std::max(size, int64_t{1}), int64_t{1}), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        for (int64_t k = 0; k < from.n; ++k)
          for (int64_t i = 0; i < from.inner; ++i) {
            int64_t const e = o * size + k * from.inner + i;
            ys[(o * to.n + ks[e]) * to.inner + i] += gs[e];
          }
    });
  });
  if (tracked(g))
    record("unpick", y, {&g}, [axis, index](Tensor const& h, Node const&) { return std::array{pick(h, axis, index)}; });
  return y;
}

}  // namespace

Named named(char const* op, Tensor const& x, Dims const& axes) {
  Named n;
  for (int64_t axis : axes) {
    int const a = normalize_axis(op, int(axis), std::max(x.rank(), 1));
    check(!n.axis[a], op, [&] {
      return Complaint{fmt::format("axis {} is named twice in {}", a, to_string(axes)), "name each axis once"};
    });
    n.axis[a] = true;
  }
  return n;
}

Along along(char const* op, Tensor const& x, int axis) {
  check_defined(op, x);
  Along r;
  r.axis = normalize_axis(op, axis, std::max(x.rank(), 1));
  r.x = x.detach().contiguous();
  for (int a = 0; a < x.rank(); ++a) (a < r.axis ? r.outer : a == r.axis ? r.n : r.inner) *= x.shape()[a];
  return r;
}

Tensor pick(Tensor const& x, int axis, Tensor const& index) {
  Along const from = along("pick", x, axis), at = along("pick", index, axis);
  Tensor y(index.shape(), x.dtype());
  Observed const watch("pick", {&x, &index}, {&y});
  dispatch_size(size_of(x.dtype()), [&]<class T>(Type<T>) {
    auto const* const xs = static_cast<T const*>(from.x.raw());
    auto* const ys = static_cast<T*>(y.raw());
    int64_t const* const ks = at.x.data<int64_t>();
    parallel_for(at.outer * at.n, std::max(grain / std::max(at.inner, int64_t{1}), int64_t{1}),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t row = begin; row < end; ++row)
                     for (int64_t i = 0, e = row * at.inner; i < at.inner; ++i, ++e)
                       ys[e] = xs[(row / at.n * from.n + ks[e]) * from.inner + i];
                 });
  });
  if (tracked(x))
    record("pick", y, {&x}, [shape = x.shape(), axis, index = at.x](Tensor const& g, Node const&) {
      return std::array{unpick(g, shape, axis, index)};
    });
  return y;
}

Dims all_axes(Tensor const& x) {
  Dims axes;
  for (int a = 0; a < x.rank(); ++a) axes.push_back(a);
  return axes;
}

int64_t count_along(char const* op, Tensor const& x, Dims const& axes) {
  check_defined(op, x);
  Named const n = named(op, x, axes);
  int64_t count = 1;
  for (int a = 0; a < x.rank(); ++a)
    if (n.axis[a]) count *= x.shape()[a];
  return count;
}

Shape reduced_shape(char const* op, Tensor const& x, Dims const& axes, bool keep) {
  check_defined(op, x);
  Named const n = named(op, x, axes);
  Shape shape;
  for (int a = 0; a < x.rank(); ++a) {
    if (!n.axis[a])
      shape.push_back(x.shape()[a]);
    else if (keep)
      shape.push_back(1);
  }
  return shape;
}

Tensor join_axes(char const* op, Tensor const& x, Dims const& axes) {
  Shape joined = reduced_shape(op, x, axes);
  joined.push_back(count_along(op, x, axes));
  Named const n = named(op, x, axes);
  Dims order;
  for (bool last : {false, true})
    for (int a = 0; a < x.rank(); ++a)
      if (n.axis[a] == last) order.push_back(a);
  return x.permute(order).reshape(joined);
}

void check_not_empty(char const* op, Tensor const& x, bool empty) {
  check(!empty, op, [&] {
    return Complaint{fmt::format("the reduced axes of shape {} hold no element", to_string(x.shape())),
                     "reduce over axes of size 1 or more"};
  });
}

}  // namespace heed
