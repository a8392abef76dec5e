// One axis of a tensor: readings, and elements picked along it by index.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/along.h>
#include <heed/engine/ops/places.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace heed {
namespace {

constexpr int64_t grain = 16384;  // elements a chunk

/// What an index tensor picks from x, row by row along the last axis: element i of a row is
/// from[i·step + index[i·index_step]·factor]. Axes that both walk through without a gap are one.
struct Picking {
  Dims sizes, steps, index_steps;
  int64_t factor, n;
  int axis;

  Picking(Tensor const& x, int axis_, Tensor const& index)
      : factor(x.rank() ? x.strides()[axis_] : 1), n(x.rank() ? x.shape()[axis_] : 1), axis(axis_) {
    for (int a = 0; a < index.rank(); ++a) {
      int64_t const size = index.shape()[a], step = a == axis ? 0 : x.strides()[a], index_step = index.strides()[a];
      if (size == 1) continue;
      int const last = sizes.rank() - 1;
      if (last >= 0 && steps[last] == step * size && index_steps[last] == index_step * size) {
        sizes[last] *= size;
        steps[last] = step;
        index_steps[last] = index_step;
      } else {
        sizes.push_back(size);
        steps.push_back(step);
        index_steps.push_back(index_step);
      }
    }
    if (sizes.rank() == 0) sizes = {1}, steps = {0}, index_steps = {0};
  }

  /// row(r, where it starts in x, where it starts in the index) for begin ≤ r < end
  template <class Row>
  void rows(int64_t begin, int64_t end, Row row) const {
    int64_t at[Dims::max_rank] = {}, from = 0, key = 0;
    int const last = sizes.rank() - 2;
    for (int64_t a = last, rest = begin; a >= 0; rest /= sizes[int(a)], --a) {
      at[a] = rest % sizes[int(a)];
      from += at[a] * steps[int(a)];
      key += at[a] * index_steps[int(a)];
    }
    for (int64_t r = begin; r < end; ++r) {
      row(r, from, key);
      for (int a = last; a >= 0; --a) {
        from += steps[a];
        key += index_steps[a];
        if (++at[a] < sizes[a]) break;
        at[a] = 0;
        from -= sizes[a] * steps[a];
        key -= sizes[a] * index_steps[a];
      }
    }
  }
};

/// Row by row: see Picking.
template <class T>
class Picker {
 public:
  Picker(char const* op, Picking const& p, T const* from, int64_t const* keys)
      : op_(op),
        p_(p),
        from_(from),
        keys_(keys),
        step_(p.steps[p.steps.rank() - 1]),
        key_step_(p.index_steps[p.index_steps.rank() - 1]) {}

  void row(int64_t from, int64_t key, T* to, int64_t n) {
    if (key_step_ == 0) {
      if (uint64_t(keys_[key]) >= uint64_t(p_.n)) check_inside(op_, keys_ + key, 1, 0, p_.n, p_.axis);
      return copy(from_ + from + keys_[key] * p_.factor, to, n);
    }
    constexpr int64_t block = 2048;  // checked, then read from cache
    bool const again = std::exchange(last_, key) == key;
    for (int64_t i = 0; i < n; i += block) {
      int64_t const count = std::min(block, n - i);
      if (!again) check_inside(op_, keys_ + key + i, count, 0, p_.n, p_.axis);
      choose(from_ + from + i * step_, keys_ + key + i, to + i, count);
    }
  }

 private:
  void copy(T const* from, T* to, int64_t n) const {
    constexpr int64_t piece = 16 / sizeof(T);  // a call would cost more than a short copy
    if (step_ != 1) {
      for (int64_t i = 0; i < n; ++i) to[i] = from[i * step_];
    } else if (n % piece == 0 && n <= 8 * piece) {
      for (int64_t i = 0; i < n; i += piece) std::memcpy(to + i, from + i, 16);
    } else {
      std::memcpy(to, from, size_t(n) * sizeof(T));
    }
  }
  void choose(T const* __restrict from, int64_t const* __restrict keys, T* __restrict to, int64_t n) const {
    int64_t const step = step_, factor = p_.factor;
    if (step == 0 && factor == 1) {
#pragma GCC unroll 8
      for (int64_t i = 0; i < n; ++i) to[i] = from[keys[i]];
    } else {
#pragma GCC unroll 4
      for (int64_t i = 0; i < n; ++i) to[i] = from[i * step + keys[i] * factor];
    }
  }

  char const* op_;
  Picking const& p_;
  T const* from_;
  int64_t const* keys_;
  int64_t step_, key_step_, last_ = -1;  // the row of indices that was checked
};

/// Where an index picks from what has `shape` and `strides`: a step for each of its axes, and its own part.
std::pair<Strides, detail::Table> steps_along(Shape const& shape, Strides const& strides, int axis,
                                              Tensor const& index) {
  if (shape.rank() == 0) return {Dims::filled(index.rank(), 0), {index, index.strides(), 1, 1, 0, false}};
  Strides steps = strides;
  steps[axis] = 0;
  return {steps, {index, index.strides(), strides[axis], shape[axis], axis, false}};
}

/// g's elements added at the indices to y, in order.
void add_along(char const* op, Tensor const& g, int axis, Tensor const& index, Tensor const& y) {
  Along const from = along(op, g, axis), to = along(op, y, axis);
  Tensor const at = index.contiguous();
  dispatch_floating(op, g.dtype(), [&]<class T>(Type<T>) {
    T const* const gs = from.x.data<T>();
    T* const ys = y.data<T>();
    int64_t const* const ks = at.data<int64_t>();
    // Positions that differ on another axis share no place: each worker has bands of the inner ones.
    int64_t const band = std::min<int64_t>(from.inner, 1024),
                  bands = (from.inner + band - 1) / std::max<int64_t>(band, 1);
    parallel_for(from.outer * bands, std::max(grain / std::max(from.n * band, int64_t{1}), int64_t{1}),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t each = begin; each < end; ++each) {
                     int64_t const o = each / bands, first = each % bands * band;
                     int64_t const last = std::min(first + band, from.inner);
                     for (int64_t k = 0; k < from.n; ++k) {
                       int64_t const row = (o * from.n + k) * from.inner;
                       for (int64_t i = first; i < last; ++i)
                         ys[(o * to.n + ks[row + i]) * to.inner + i] += gs[row + i];
                     }
                   }
                 });
  });
}

/// The adjoint of pick: g added into zeros of `shape` at the indices, in order.
Tensor unpick(char const* op, Tensor const& g, Shape const& shape, int axis, Tensor const& index, bool distinct) {
  if (is_half(g.dtype()))
    return through_f32(g, [&](Tensor const& wide) { return unpick(op, wide, shape, axis, index, distinct); });
  Tensor y = zeros(shape, g.dtype(), g.device());
  Observed const watch(op, {&g, &index}, {&y});
  if (y.device().is_cpu()) {
    add_along(op, g, axis, index, y);
  } else if (g.numel() > 0) {
    auto const [steps, table] = steps_along(shape, y.strides(), normalize_axis(op, axis, std::max(y.rank(), 1)), index);
    detail::add_at(y, {detail::starts_of(op, index.shape(), steps, 0, {table}, y.device()), 1, distinct}, g);
  }
  if (tracked(g))
    record(op, y, {&g}, [op, axis, index, distinct](Tensor const& h, Node const&) {
      return std::array{pick(op, h, axis, index, distinct)};
    });
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

void check_inside(char const* op, int64_t const* index, int64_t n, int64_t low, int64_t size, int axis) {
  uint64_t outside = 0;  // its sign: that of any difference to a bound
  for (int64_t i = 0; i < n; ++i)
    outside |= (uint64_t(index[i]) - uint64_t(low)) | (uint64_t(size) - 1 - uint64_t(index[i]));
  if (int64_t(outside) >= 0 || n == 0) return;
  auto const [least, most] = std::minmax_element(index, index + n);
  check(false, op, [&, least = *least, most = *most] {
    return Complaint{
        fmt::format("index {} is outside axis {} of size {}", most < size ? least : most, axis, size),
        size == 0 ? std::string("an axis of size 0 has no element") : fmt::format("use {} to {}", low, size - 1)};
  });
}

Tensor picked(char const* op, Tensor const& x, int axis, Tensor const& index) {
  Tensor y(index.shape(), x.dtype(), x.device());
  if (y.numel() == 0) return y;
  axis = normalize_axis(op, axis, std::max(x.rank(), 1));
  if (Device const device = common_device(op, {&x, &index}); !device.is_cpu()) {
    Observed const watch(op, {&x, &index}, {&y});
    auto const [steps, table] = steps_along(x.shape(), x.strides(), axis, index);
    device_kernels<DeviceIndexKernels>(device, op)
        .pick(op, detail::index_space(op, index.shape(), steps, 0, {table}), x.address(), y.address(),
              int(size_of(x.dtype())));
    return y;
  }
  Picking const p(x, axis, index);
  int const last = p.sizes.rank() - 1;
  if (p.index_steps[last] > 1) return picked(op, x, axis, index.contiguous());
  Observed const watch(op, {&x, &index}, {&y});
  int64_t const width = p.sizes[last];
  dispatch_size(size_of(x.dtype()), [&]<class T>(Type<T>) {
    auto const* const xs = static_cast<T const*>(x.raw());
    auto* const ys = static_cast<T*>(y.raw());
    int64_t const* const ks = index.data<int64_t>();
    if (last == 0)
      parallel_for(width, grain, [&](int64_t begin, int64_t end) {
        Picker<T>(op, p, xs, ks).row(begin * p.steps[0], begin * p.index_steps[0], ys + begin, end - begin);
      });
    else
      parallel_for(y.numel() / width, std::max(grain / width, int64_t{1}), [&](int64_t begin, int64_t end) {
        Picker<T> picker(op, p, xs, ks);
        p.rows(begin, end, [&](int64_t r, int64_t from, int64_t key) { picker.row(from, key, ys + r * width, width); });
      });
  });
  return y;
}

Tensor pick(char const* op, Tensor const& x, int axis, Tensor const& index, bool distinct) {
  Tensor y = picked(op, x, axis, index);
  if (tracked(x))
    record(op, y, {&x}, [op, shape = x.shape(), axis, index = index.detach(), distinct](Tensor const& g, Node const&) {
      return std::array{unpick(op, g, shape, axis, index, distinct)};
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
