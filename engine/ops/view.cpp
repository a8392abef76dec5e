// Views: the same storage read with another shape, offset or strides. The gradient of each is the inverse view, or a
// scatter into zeros.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops/places.h>
#include <heed/engine/tape.h>

#include <algorithm>

namespace heed {
namespace {

Tensor view_of(Tensor const& x, int64_t offset, Shape const& shape, Strides const& strides) {
  Tensor y(x.body()->storage, offset, shape, strides, x.dtype());
  y.body()->is_view = true;
  // For recorded changes in place (tape.h); elsewhere a view is alone with its storage once its source is gone.
  if (recording()) y.body()->base = x.body()->is_view ? x.body()->base : x.body_ref();
  return y;
}

Tensor view_of(Tensor const& x, Shape const& shape, Strides const& strides) {
  return view_of(x, x.body()->offset, shape, strides);
}

/// Replaces one -1 by what the number of elements leaves.
Shape resolve(char const* op, Shape shape, Tensor const& x) {
  int unknown = -1;
  int64_t known = 1;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == -1 && unknown < 0)
      unknown = axis;
    else
      known *= shape[axis];
  }
  int64_t const n = x.numel();
  if (unknown >= 0 && known > 0 && n % known == 0) shape[unknown] = n / known;
  check((unknown < 0 || shape[unknown] >= 0) && numel(shape) == n, op, [&] {
    return Complaint{
        fmt::format("a tensor of shape {} ({} elements) cannot become {}", to_string(x.shape()), n, to_string(shape)),
        "make the products of sizes equal, or leave one size as -1"};
  });
  return shape;
}

/// Strides that read x as `shape` without copying, if there are any: runs of x's axes that lie end to end in memory are
/// split and joined freely, and no axis may straddle two runs.
bool strides_for(Tensor const& x, Shape const& shape, Strides& strides) {
  if (x.is_contiguous()) {
    strides = contiguous_strides(shape);
    return true;
  }
  if (x.numel() == 0) return false;
  strides = Dims::filled(shape.rank(), 1);
  int to = shape.rank() - 1;
  int from = x.rank() - 1;
  while (from >= 0) {
    int64_t run = x.shape()[from];
    int64_t const step = x.strides()[from];
    while (from > 0 && (x.shape()[from - 1] == 1 || x.strides()[from - 1] == run * step)) run *= x.shape()[--from];
    --from;
    int64_t covered = 1;
    while (to >= 0 && covered < run) {
      strides[to] = covered * step;
      covered *= shape[to--];
    }
    if (covered != run) return false;
  }
  return true;
}

}  // namespace

Tensor Tensor::view(Shape const& to) const {
  check_defined("view", *this);
  Shape const shape = resolve("view", to, *this);
  Strides strides;
  check(strides_for(*this, shape, strides), "view", [&] {
    return Complaint{
        fmt::format("a tensor of shape {} and strides {} cannot be read as {} without a copy",
                    heed::to_string(this->shape()), heed::to_string(this->strides()), heed::to_string(shape)),
        "use reshape, or contiguous() first"};
  });
  Tensor y = view_of(*this, shape, strides);
  if (tracked(*this))
    record("view", y, {this},
           [shape = this->shape()](Tensor const& g, Node const&) { return std::array{g.reshape(shape)}; });
  return y;
}

Tensor Tensor::reshape(Shape const& to) const {
  check_defined("reshape", *this);
  Shape const shape = resolve("reshape", to, *this);
  Strides strides;
  return strides_for(*this, shape, strides) ? view(shape) : contiguous().view(shape);
}

Tensor Tensor::flatten(int from, int to) const {
  check_defined("flatten", *this);
  if (rank() == 0) return reshape({1});
  from = normalize_axis("flatten", from, rank());
  to = normalize_axis("flatten", to, rank());
  Shape flat;
  for (int axis = 0; axis < rank(); ++axis) {
    if (axis > from && axis <= to)
      flat[from] *= shape()[axis];
    else
      flat.push_back(shape()[axis]);
  }
  return reshape(flat);
}

Tensor Tensor::permute(Dims const& axes) const {
  check_defined("permute", *this);
  int const n = rank();
  Shape to = shape();
  Strides steps = strides();
  Dims inverse = Dims::filled(n, -1);
  bool valid = axes.rank() == n;
  for (int i = 0; valid && i < n; ++i) {
    int const axis = normalize_axis("permute", int(axes[i]), n);
    valid = inverse[axis] < 0;
    inverse[axis] = i;
    to[i] = shape()[axis];
    steps[i] = strides()[axis];
  }
  check(valid, "permute", [&] {
    return Complaint{fmt::format("expected each of {} axes once, got {}", n, heed::to_string(axes)),
                     "list every axis of the tensor exactly once"};
  });
  Tensor y = view_of(*this, to, steps);
  if (tracked(*this))
    record("permute", y, {this}, [inverse](Tensor const& g, Node const&) { return std::array{g.permute(inverse)}; });
  return y;
}

Tensor Tensor::transpose(int axis_a, int axis_b) const {
  check_defined("transpose", *this);
  if (rank() == 0 && (axis_a == 0 || axis_a == -1) && (axis_b == 0 || axis_b == -1)) return *this;
  Dims axes = Dims::filled(rank(), 0);
  for (int i = 0; i < rank(); ++i) axes[i] = i;
  std::swap(axes[normalize_axis("transpose", axis_a, rank())], axes[normalize_axis("transpose", axis_b, rank())]);
  return permute(axes);
}

Tensor Tensor::unsqueeze(int axis) const {
  check_defined("unsqueeze", *this);
  axis = normalize_axis("unsqueeze", axis, rank() + 1);
  Shape to = shape();
  to.insert(axis, 1);
  Strides steps = strides();
  steps.insert(axis, 1);
  Tensor y = view_of(*this, to, steps);
  if (tracked(*this))
    record("unsqueeze", y, {this}, [axis](Tensor const& g, Node const&) { return std::array{g.squeeze(axis)}; });
  return y;
}

Tensor Tensor::squeeze(int axis) const {
  check_defined("squeeze", *this);
  axis = normalize_axis("squeeze", axis, rank());
  if (shape()[axis] != 1) return *this;
  Shape to = shape();
  to.erase(axis);
  Strides steps = strides();
  steps.erase(axis);
  Tensor y = view_of(*this, to, steps);
  if (tracked(*this))
    record("squeeze", y, {this}, [axis](Tensor const& g, Node const&) { return std::array{g.unsqueeze(axis)}; });
  return y;
}

Tensor Tensor::expand(Shape const& shape) const {
  check_defined("expand", *this);
  Shape to = shape;
  int const added = to.rank() - rank();
  for (int a = std::max(added, 0); a < to.rank(); ++a)
    if (to[a] == -1) to[a] = this->shape()[a - added];
  check(broadcast("expand", this->shape(), to) == to, "expand", [&] {
    return Complaint{
        fmt::format("a tensor of shape {} does not expand to {}", heed::to_string(this->shape()), heed::to_string(to)),
        "only axes of size 1, and new leading axes, can grow; -1 keeps an axis"};
  });
  heed::numel(to);  // an Error where it is negative or overflows
  Tensor y = view_of(*this, to, broadcast_strides(this->shape(), strides(), to));
  // The walk sums what was broadcast.
  if (tracked(*this)) record("expand", y, {this}, [](Tensor const& g, Node const&) { return std::array{g}; });
  return y;
}

namespace {

/// The adjoint of slice: g written into zeros of `shape` at from, from+step, …
Tensor unslice(Tensor const& g, Shape const& shape, int axis, int64_t from, int64_t step) {
  Tensor y = zeros(shape, g.dtype(), g.device());
  {
    NoGrad const off;
    int64_t const count = g.shape()[axis];
    y.slice(axis, from, count == 0 ? from : from + (count - 1) * step + 1, step).copy_(g.detach());
  }
  if (tracked(g))
    record("unslice", y, {&g}, [n = g.shape()[axis], axis, from, step](Tensor const& h, Node const&) {
      return std::array{h.slice(axis, from, n == 0 ? from : from + (n - 1) * step + 1, step)};
    });
  return y;
}

}  // namespace

Tensor Tensor::slice(int axis, int64_t from, int64_t to, int64_t step) const {
  check_defined("slice", *this);
  axis = normalize_axis("slice", axis, rank());
  check(step > 0, "slice", [&] {
    return Complaint{fmt::format("expected a step of 1 or more, got {}", step), "use flip for the other direction"};
  });
  int64_t const n = shape()[axis];
  step = std::min(step, n + 1);  // longer ones are the same, and might overflow
  from = std::clamp(from < 0 ? from + n : from, int64_t{0}, n);
  to = std::clamp(to < 0 ? to + n : to, from, n);
  Shape smaller = shape();
  smaller[axis] = (to - from + step - 1) / step;
  Strides steps = strides();
  int64_t const start = body_->offset + from * steps[axis];
  steps[axis] *= step;
  Tensor y = view_of(*this, smaller[axis] ? start : body_->offset, smaller, steps);
  if (tracked(*this))
    record("slice", y, {this}, [shape = shape(), axis, from, step](Tensor const& g, Node const&) {
      return std::array{unslice(g, shape, axis, from, step)};
    });
  return y;
}

Tensor Tensor::select(int axis, int64_t index) const {
  check_defined("select", *this);
  axis = normalize_axis("select", axis, rank());
  int64_t const n = shape()[axis];
  check(index >= -n && index < n, "select", [&] {
    return Complaint{fmt::format("index {} is outside axis {} of shape {}", index, axis, heed::to_string(shape())),
                     fmt::format("use {} to {}", -n, n - 1)};
  });
  if (index < 0) index += n;
  return slice(axis, index, index + 1).squeeze(axis);
}

Tensor Tensor::T() const {
  check_defined("T", *this);
  Dims axes;
  for (int a = rank() - 1; a >= 0; --a) axes.push_back(a);
  return permute(axes);
}

// ---- other strides --------------------------------------------------------------------------------------------------

namespace {

/// The first and last element that a view reaches, from its offset; an empty view reaches none.
std::pair<int64_t, int64_t> extent(Shape const& shape, Strides const& strides) {
  int64_t low = 0, high = 0;
  for (int a = 0; a < shape.rank(); ++a) (strides[a] < 0 ? low : high) += (shape[a] - 1) * strides[a];
  return {low, high};
}

/// Records a view y that reads element `start` + Σ position·stride of x's elements in row-major order: any strides, so
/// that elements may be read often or never.
void record_strided(char const* op, Tensor& y, Tensor const& x, Strides const& strides, int64_t start) {
  record(op, y, {&x}, [op, shape = x.shape(), to = y.shape(), strides, start](Tensor const& g, Node const&) {
    return std::array{detail::spread(op, g, shape, {detail::starts_of(op, to, strides, start, {}, g.device())})};
  });
}

}  // namespace

Tensor as_strided(Tensor const& x, Shape const& shape, Strides const& strides, std::optional<int64_t> offset) {
  check_defined("as_strided", x);
  int64_t const from = offset.value_or(x.body()->offset), n = numel(shape);
  auto const room = int64_t(x.storage().bytes() / size_of(x.dtype()));
  bool fits = strides.rank() == shape.rank() && from >= 0 && from <= room;
  for (int a = 0; fits && a < shape.rank(); ++a)
    fits = strides[a] >= 0 && (n == 0 || shape[a] == 1 || strides[a] <= room / (shape[a] - 1));
  int64_t const last = fits && n > 0 ? from + extent(shape, strides).second : 0;
  check(fits && last < std::max(room, int64_t{1}), "as_strided", [&] {
    return Complaint{fmt::format("shape {} with strides {} from element {} does not lie in a storage of {} elements",
                                 to_string(shape), to_string(strides), from, room),
                     "give one stride of 0 or more for each axis, and stay inside the storage"};
  });
  Tensor y = view_of(x, from, shape, strides);
  if (!tracked(x)) return y;
  int64_t const start = from - x.body()->offset;
  check(x.is_contiguous() && (n == 0 || (start >= 0 && last - x.body()->offset < x.numel())), "as_strided", [] {
    return Complaint{"its gradient needs a contiguous tensor, and a view of that tensor's own elements",
                     "call contiguous() first, or detach()"};
  });
  record_strided("as_strided", y, x, strides, start);
  return y;
}

Tensor unfold(Tensor const& x, int axis, int64_t size, int64_t step) {
  check_defined("unfold", x);
  Shape shape = x.rank() == 0 ? Shape{1} : x.shape();
  Strides strides = x.rank() == 0 ? Strides{1} : x.strides(), plain = contiguous_strides(shape);
  axis = normalize_axis("unfold", axis, shape.rank());
  int64_t const n = shape[axis];
  check(size >= 0 && size <= n && step > 0, "unfold", [&] {
    return Complaint{
        fmt::format("expected windows of 0 to {} elements and a step of 1 or more, got {} and {}", n, size, step),
        "choose a window no larger than the axis"};
  });
  step = std::min(step, n + 1);
  shape[axis] = (n - size) / step + 1;
  if (x.rank() == 0) shape = {};  // as in PyTorch: the one window of a number
  shape.push_back(size);
  for (Strides* s : {&strides, &plain}) {
    int64_t const one = (*s)[axis];
    (*s)[axis] = one * step;
    if (x.rank() == 0) *s = {};
    s->push_back(one);
  }
  Tensor y = view_of(x, shape, strides);
  if (tracked(x)) record_strided("unfold", y, x, plain, 0);
  return y;
}

Tensor diagonal(Tensor const& x, int64_t offset, int axis1, int axis2) {
  check_defined("diagonal", x);
  int const a = normalize_axis("diagonal", axis1, x.rank()), b = normalize_axis("diagonal", axis2, x.rank());
  check(a != b, "diagonal", [&] {
    return Complaint{fmt::format("expected two different axes, got {} and {}", axis1, axis2),
                     "name the two axes of the matrices"};
  });
  int64_t const rows = x.shape()[a], columns = x.shape()[b];
  offset = std::clamp(offset, -rows, columns);  // outside there is no diagonal
  int64_t const count =
      std::max(std::min(offset < 0 ? rows + offset : rows, offset > 0 ? columns - offset : columns), int64_t{0});
  int64_t const start = offset < 0 ? -offset * x.strides()[a] : offset * x.strides()[b];
  Shape shape = x.shape();
  Strides strides = x.strides();
  for (int axis : {std::max(a, b), std::min(a, b)}) {
    shape.erase(axis);
    strides.erase(axis);
  }
  shape.push_back(count);
  strides.push_back(x.strides()[a] + x.strides()[b]);
  Tensor y = view_of(x, x.body()->offset + (count > 0 ? start : 0), shape, strides);
  if (tracked(x))
    record("diagonal", y, {&x}, [shape = x.shape(), offset, a, b](Tensor const& g, Node const&) {
      return std::array{diagonal_scatter(zeros(shape, g.dtype(), g.device()), g, offset, a, b)};
    });
  return y;
}

// ---- composed -------------------------------------------------------------------------------------------------------

Tensor movedim(Tensor const& x, Dims const& from, Dims const& to) {
  check_defined("movedim", x);
  check(from.rank() == to.rank() && from.rank() <= x.rank(), "movedim", [&] {
    return Complaint{fmt::format("expected as many targets as axes, got {} to {}", to_string(from), to_string(to)),
                     "name one place for each axis that moves"};
  });
  Dims order = Dims::filled(x.rank(), -1);
  bool moved[Dims::max_rank] = {};
  for (int i = 0; i < from.rank(); ++i) {
    int const source = normalize_axis("movedim", int(from[i]), x.rank());
    int const target = normalize_axis("movedim", int(to[i]), x.rank());
    check(!moved[source] && order[target] < 0, "movedim", [&] {
      return Complaint{fmt::format("an axis is named twice in {} to {}", to_string(from), to_string(to)),
                       "name each axis and each place once"};
    });
    moved[source] = true;
    order[target] = source;
  }
  int rest = 0;
  for (int a = 0; a < x.rank(); ++a) {
    if (order[a] >= 0) continue;
    while (moved[rest]) ++rest;
    order[a] = rest++;
  }
  return x.permute(order);
}

Tensor swapaxes(Tensor const& x, int axis_a, int axis_b) {
  check_defined("swapaxes", x);
  return x.transpose(axis_a, axis_b);
}

Tensor squeeze(Tensor const& x) {
  check_defined("squeeze", x);
  Tensor y = x;
  for (int a = x.rank() - 1; a >= 0; --a) y = y.squeeze(a);
  return y;
}

Tensor squeeze(Tensor const& x, Dims const& axes) {
  check_defined("squeeze", x);
  bool wanted[Dims::max_rank] = {};
  for (int64_t axis : axes) {
    if (x.rank() == 0 && (axis == 0 || axis == -1)) continue;
    int const a = normalize_axis("squeeze", int(axis), x.rank());
    check(!wanted[a], "squeeze", [&] {
      return Complaint{fmt::format("axis {} is named twice in {}", a, to_string(axes)), "name each axis once"};
    });
    wanted[a] = true;
  }
  Tensor y = x;
  for (int a = x.rank() - 1; a >= 0; --a)
    if (wanted[a]) y = y.squeeze(a);
  return y;
}

Tensor broadcast_to(Tensor const& x, Shape const& shape) {
  check_defined("broadcast_to", x);
  return x.expand(shape);
}

std::vector<Tensor> broadcast_tensors(std::vector<Tensor> const& tensors) {
  Shape shape;
  for (Tensor const& t : tensors) {
    check_defined("broadcast_tensors", t);
    shape = broadcast("broadcast_tensors", shape, t.shape());
  }
  std::vector<Tensor> all;
  for (Tensor const& t : tensors) all.push_back(t.expand(shape));
  return all;
}

Tensor ravel(Tensor const& x) {
  check_defined("ravel", x);
  return x.reshape({-1});
}

Tensor unflatten(Tensor const& x, int axis, Shape const& sizes) {
  check_defined("unflatten", x);
  axis = normalize_axis("unflatten", axis, x.rank());
  int64_t const n = x.shape()[axis];
  int64_t known = 1;
  int unknown = 0;
  bool overflow = false;
  for (int64_t size : sizes) {
    unknown += size == -1;
    overflow |= size != -1 && __builtin_mul_overflow(known, size, &known);
  }
  bool const fits = overflow ? false : unknown == 0 ? known == n : unknown == 1 && known > 0 && n % known == 0;
  check(fits && sizes.rank() > 0, "unflatten", [&] {
    return Complaint{fmt::format("axis {} of shape {} cannot become {}", axis, to_string(x.shape()), to_string(sizes)),
                     "make the product of the sizes that of the axis, or leave one as -1"};
  });
  Shape shape = x.shape();
  shape.erase(axis);
  for (int i = 0; i < sizes.rank(); ++i) shape.insert(axis + i, sizes[i] == -1 ? n / known : sizes[i]);
  return x.reshape(shape);
}

Tensor atleast_1d(Tensor const& x) {
  check_defined("atleast_1d", x);
  return x.rank() == 0 ? x.unsqueeze(0) : x;
}

Tensor atleast_2d(Tensor const& x) {
  Tensor const y = atleast_1d(x);
  return y.rank() == 1 ? y.unsqueeze(0) : y;
}

Tensor atleast_3d(Tensor const& x) {
  Tensor const y = atleast_2d(x);
  return y.rank() == 2 ? y.unsqueeze(-1) : y;
}

}  // namespace heed
