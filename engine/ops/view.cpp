// Views: the same storage read with another shape, offset or strides. The gradient of each is the inverse view, or a
// scatter into zeros.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
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

Tensor Tensor::expand(Shape const& to) const {
  check_defined("expand", *this);
  check(broadcast("expand", shape(), to) == to, "expand", [&] {
    return Complaint{
        fmt::format("a tensor of shape {} does not expand to {}", heed::to_string(shape()), heed::to_string(to)),
        "only axes of size 1, and new leading axes, can grow"};
  });
  heed::numel(to);  // an Error where it overflows
  Tensor y = view_of(*this, to, broadcast_strides(shape(), strides(), to));
  // The walk sums what was broadcast.
  if (tracked(*this)) record("expand", y, {this}, [](Tensor const& g, Node const&) { return std::array{g}; });
  return y;
}

namespace {

/// The adjoint of slice: g written into zeros of `shape` at from, from+step, …
Tensor unslice(Tensor const& g, Shape const& shape, int axis, int64_t from, int64_t step) {
  Tensor y = zeros(shape, g.dtype());
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

std::vector<Tensor> split(Tensor const& x, int64_t size, int axis) {
  check_defined("split", x);
  check(size > 0, "split", [&] {
    return Complaint{fmt::format("expected a size of 1 or more, got {}", size), "pass the length of each piece"};
  });
  std::vector<Tensor> pieces;
  int64_t const n = x.size(axis);
  for (int64_t from = 0; from < n; from += size) pieces.push_back(x.slice(axis, from, std::min(from + size, n)));
  return pieces;
}

}  // namespace heed
