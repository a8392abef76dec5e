// What joins, cuts and rearranges.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

namespace heed {
namespace {

/// size·count, as the new size of an axis of `shape`.
void multiply(char const* op, Shape& shape, int axis, int64_t count) {
  check(!__builtin_mul_overflow(shape[axis], count, &shape[axis]), op, [&] {
    return Complaint{fmt::format("{} copies along axis {} have more elements than memory has addresses", count, axis),
                     "check the count for overflow"};
  });
  numel(shape);
}

}  // namespace

// ---- joined ---------------------------------------------------------------------------------------------------------

namespace {

void check_list(char const* op, std::vector<Tensor> const& tensors) {
  check(!tensors.empty(), op, [] {
    return Complaint{"expected at least one tensor, got none", "pass the tensors to join"};
  });
  for (Tensor const& t : tensors) check_defined(op, t);
}

template <class F>
std::vector<Tensor> each(char const* op, std::vector<Tensor> const& tensors, F f) {
  check_list(op, tensors);
  std::vector<Tensor> all;
  for (Tensor const& t : tensors) all.push_back(f(t));
  return all;
}

/// PyTorch's old way to say "nothing yet".
bool left_out(Tensor const& t) { return t.rank() == 1 && t.shape()[0] == 0; }

/// What cat gives: the first shape of rank other than [0], longer along `axis`.
struct Joined {
  Shape shape;
  Dtype dtype;
  Device device;
  int axis;
  std::vector<int64_t> bounds;  // where each tensor begins along the axis, and the end

  Joined(std::vector<Tensor> const& tensors, int axis_) {
    size_t first = 0;
    while (first + 1 < tensors.size() && left_out(tensors[first])) ++first;
    shape = tensors[first].shape();
    axis = normalize_axis("cat", axis_, shape.rank());
    dtype = tensors[0].dtype();
    device = tensors[first].device();
    int64_t end = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      dtype = promote(dtype, tensors[i].dtype());
      bounds.push_back(end);
      if (left_out(tensors[i])) continue;
      Shape expected = shape;
      if (tensors[i].rank() == shape.rank()) expected[axis] = tensors[i].shape()[axis];
      check(tensors[i].shape() == expected, "cat", [&] {
        return Complaint{fmt::format("tensor {} of shape {} does not fit tensor {} of shape {} along axis {}", i,
                                     to_string(tensors[i].shape()), first, to_string(tensors[first].shape()), axis),
                         "make all sizes but that of the joined axis equal"};
      });
      common_device("cat", {&tensors[first], &tensors[i]});
      end += tensors[i].shape()[axis];
    }
    bounds.push_back(end);
    shape[axis] = end;
  }
};

}  // namespace

Tensor cat(std::vector<Tensor> const& tensors, int axis) {
  check_list("cat", tensors);
  Joined const joined(tensors, axis);
  std::vector<int64_t> const& bounds = joined.bounds;
  Observed const watch("cat");  // its copies have the bytes
  Tensor y(joined.shape, joined.dtype, joined.device);
  {
    NoGrad const off;
    for (size_t i = 0; i < tensors.size(); ++i)
      if (!left_out(tensors[i])) y.slice(joined.axis, bounds[i], bounds[i + 1]).copy_(tensors[i].detach());
  }
  if (tracked(tensors)) {
    std::vector<std::pair<Dtype, bool>> kinds;
    for (Tensor const& t : tensors) kinds.emplace_back(t.dtype(), left_out(t));
    record_many("cat", y, tensors, [axis = joined.axis, bounds, kinds](Tensor const& g, Node const& node) {
      std::vector<Tensor> parts(kinds.size());
      for (size_t i = 0; i < parts.size(); ++i)
        if (auto const [dtype, empty] = kinds[i]; node.needs(int(i)))
          parts[i] = empty ? zeros({0}, dtype, g.device()) : g.slice(axis, bounds[i], bounds[i + 1]).to(dtype);
      return parts;
    });
  }
  return y;
}

Tensor stack(std::vector<Tensor> const& tensors, int axis) {
  check_list("stack", tensors);
  for (Tensor const& t : tensors)
    check(t.shape() == tensors[0].shape(), "stack", [&] {
      return Complaint{
          fmt::format("expected equal shapes, got {} and {}", to_string(tensors[0].shape()), to_string(t.shape())),
          "use cat for different sizes, or expand the smaller one"};
    });
  return cat(each("stack", tensors, [&](Tensor const& t) { return t.unsqueeze(axis); }), axis);
}

Tensor hstack(std::vector<Tensor> const& tensors) {
  auto const all = each("hstack", tensors, atleast_1d);
  return cat(all, all[0].rank() == 1 ? 0 : 1);
}

Tensor vstack(std::vector<Tensor> const& tensors) { return cat(each("vstack", tensors, atleast_2d), 0); }
Tensor dstack(std::vector<Tensor> const& tensors) { return cat(each("dstack", tensors, atleast_3d), 2); }

Tensor column_stack(std::vector<Tensor> const& tensors) {
  auto const column = [](Tensor const& t) { return t.rank() < 2 ? t.reshape({t.numel(), 1}) : t; };
  return cat(each("column_stack", tensors, column), 1);
}

Tensor block_diag(std::vector<Tensor> const& tensors) {
  auto const blocks = each("block_diag", tensors, [](Tensor const& t) {
    check(t.rank() <= 2, "block_diag", [&] {
      return Complaint{fmt::format("expected matrices, got shape {}", to_string(t.shape())),
                       "use a loop over the leading axes"};
    });
    return atleast_2d(t);
  });
  int64_t width = 0, before = 0;
  for (Tensor const& b : blocks) width += b.shape()[1];
  std::vector<Tensor> rows;
  for (Tensor const& b : blocks) {
    rows.push_back(pad(b, {before, width - before - b.shape()[1]}));
    before += b.shape()[1];
  }
  return cat(rows, 0);
}

// ---- cut ------------------------------------------------------------------------------------------------------------

namespace {

/// The views between neighbouring bounds, which may repeat or go back: such a piece is empty.
std::vector<Tensor> pieces(Tensor const& x, std::vector<int64_t> const& bounds, int axis) {
  std::vector<Tensor> all;
  for (size_t i = 0; i + 1 < bounds.size(); ++i) all.push_back(x.slice(axis, bounds[i], bounds[i + 1]));
  return all;
}

/// The axis that hsplit, vsplit or dsplit cuts.
int cut_axis(char const* op, Tensor const& x, int axis, int rank) {
  check_defined(op, x);
  check(x.rank() >= rank, op, [&] {
    return Complaint{fmt::format("expected a tensor of rank {} or more, got shape {}", rank, to_string(x.shape())),
                     "add axes with unsqueeze"};
  });
  return x.rank() == 1 ? 0 : axis;
}

std::vector<Tensor> cut_evenly(char const* op, Tensor const& x, int64_t count, int axis) {
  check(count > 0 && x.size(axis) % count == 0, op, [&] {
    return Complaint{
        fmt::format("axis {} of shape {} cannot be cut into {} equal parts", axis, to_string(x.shape()), count),
        "choose a divisor of the size, or use tensor_split"};
  });
  return tensor_split(x, count, axis);
}

}  // namespace

std::vector<Tensor> split(Tensor const& x, int64_t size, int axis) {
  check_defined("split", x);
  axis = normalize_axis("split", axis, x.rank());
  int64_t const n = x.shape()[axis];
  check(size > 0 || (size == 0 && n == 0), "split", [&] {
    return Complaint{fmt::format("expected a size of 1 or more, got {}", size), "pass the length of each piece"};
  });
  std::vector<int64_t> bounds = {0, std::min(size, n)};
  for (int64_t from = size; from < n; from += size) bounds.push_back(std::min(from + size, n));
  return pieces(x, bounds, axis);
}

std::vector<Tensor> split(Tensor const& x, std::vector<int64_t> const& sizes, int axis) {
  check_defined("split", x);
  axis = normalize_axis("split", axis, x.rank());
  std::vector<int64_t> bounds = {0};
  bool valid = true;
  for (int64_t size : sizes) {
    valid &= size >= 0 && size <= x.shape()[axis] - bounds.back();
    bounds.push_back(valid ? bounds.back() + size : 0);
  }
  check(valid && bounds.back() == x.shape()[axis], "split", [&] {
    return Complaint{fmt::format("the sizes {} do not add up to axis {} of shape {}", fmt::join(sizes, ", "), axis,
                                 to_string(x.shape())),
                     "pass sizes of 0 or more whose sum is the size of the axis"};
  });
  return pieces(x, bounds, axis);
}

std::vector<Tensor> chunk(Tensor const& x, int64_t count, int axis) {
  check_defined("chunk", x);
  check(count > 0, "chunk", [&] {
    return Complaint{fmt::format("expected 1 chunk or more, got {}", count), "pass the number of pieces"};
  });
  int64_t const n = x.size(axis);
  if (n == 0) return std::vector<Tensor>(size_t(count), x.slice(axis, 0, 0));
  return split(x, (n + count - 1) / count, axis);
}

std::vector<Tensor> tensor_split(Tensor const& x, int64_t count, int axis) {
  check_defined("tensor_split", x);
  check(count > 0, "tensor_split", [&] {
    return Complaint{fmt::format("expected 1 piece or more, got {}", count), "pass the number of pieces"};
  });
  axis = normalize_axis("tensor_split", axis, x.rank());
  int64_t const n = x.shape()[axis];
  std::vector<int64_t> bounds = {0};
  for (int64_t i = 0; i < count; ++i) bounds.push_back(bounds.back() + n / count + (i < n % count));
  return pieces(x, bounds, axis);
}

std::vector<Tensor> tensor_split(Tensor const& x, std::vector<int64_t> const& indices, int axis) {
  check_defined("tensor_split", x);
  axis = normalize_axis("tensor_split", axis, x.rank());
  std::vector<int64_t> bounds = {0};
  bounds.insert(bounds.end(), indices.begin(), indices.end());
  bounds.push_back(x.shape()[axis]);
  return pieces(x, bounds, axis);
}

std::vector<Tensor> hsplit(Tensor const& x, int64_t count) {
  return cut_evenly("hsplit", x, count, cut_axis("hsplit", x, 1, 1));
}
std::vector<Tensor> hsplit(Tensor const& x, std::vector<int64_t> const& indices) {
  return tensor_split(x, indices, cut_axis("hsplit", x, 1, 1));
}
std::vector<Tensor> vsplit(Tensor const& x, int64_t count) {
  return cut_evenly("vsplit", x, count, cut_axis("vsplit", x, 0, 2));
}
std::vector<Tensor> vsplit(Tensor const& x, std::vector<int64_t> const& indices) {
  return tensor_split(x, indices, cut_axis("vsplit", x, 0, 2));
}
std::vector<Tensor> dsplit(Tensor const& x, int64_t count) {
  return cut_evenly("dsplit", x, count, cut_axis("dsplit", x, 2, 3));
}
std::vector<Tensor> dsplit(Tensor const& x, std::vector<int64_t> const& indices) {
  return tensor_split(x, indices, cut_axis("dsplit", x, 2, 3));
}

std::vector<Tensor> unbind(Tensor const& x, int axis) {
  check_defined("unbind", x);
  axis = normalize_axis("unbind", axis, x.rank());
  std::vector<Tensor> all;
  for (int64_t i = 0; i < x.shape()[axis]; ++i) all.push_back(x.select(axis, i));
  return all;
}

Tensor narrow(Tensor const& x, int axis, int64_t from, int64_t length) {
  check_defined("narrow", x);
  axis = normalize_axis("narrow", axis, x.rank());
  int64_t const n = x.shape()[axis], start = from < 0 ? from + n : from;
  check(start >= 0 && start <= n && length >= 0 && length <= n - start, "narrow", [&] {
    return Complaint{
        fmt::format("{} elements from {} are not inside axis {} of shape {}", length, from, axis, to_string(x.shape())),
        "stay inside the axis"};
  });
  return x.slice(axis, start, start + length);
}

// ---- moved ----------------------------------------------------------------------------------------------------------

namespace {

/// The elements of x shifted by `shifts` along every axis, each in [0, size).
Tensor rolled(Tensor const& x, Dims const& shifts) {
  Tensor y(x.shape(), x.dtype(), x.device());
  NoGrad const off;
  std::function<void(Tensor, Tensor, int)> const move = [&](Tensor const& from, Tensor to, int axis) {
    if (axis == x.rank()) {
      to.copy_(from);
      return;
    }
    int64_t const n = x.shape()[axis], shift = shifts[axis];
    if (shift == 0) return move(from, to, axis + 1);
    move(from.slice(axis, 0, n - shift), to.slice(axis, shift, n), axis + 1);
    move(from.slice(axis, n - shift, n), to.slice(axis, 0, shift), axis + 1);
  };
  if (x.numel() > 0) move(x.detach(), y, 0);
  return y;
}

/// `rank` marks of which axes are named, each once.
std::array<bool, Dims::max_rank> named_axes(char const* op, Dims const& axes, int rank) {
  std::array<bool, Dims::max_rank> named = {};
  for (int64_t axis : axes) {
    int const a = normalize_axis(op, int(axis), rank);
    check(!named[size_t(a)], op, [&] {
      return Complaint{fmt::format("axis {} is named twice in {}", a, to_string(axes)), "name each axis once"};
    });
    named[size_t(a)] = true;
  }
  return named;
}

}  // namespace

Tensor roll(Tensor const& x, Dims const& shifts, Dims const& axes) {
  check_defined("roll", x);
  check(shifts.rank() == axes.rank(), "roll", [&] {
    return Complaint{fmt::format("expected a shift for each axis, got {} for {}", to_string(shifts), to_string(axes)),
                     "give as many shifts as axes"};
  });
  Dims whole = Dims::filled(x.rank(), 0);
  for (int i = 0; i < axes.rank(); ++i) {
    if (x.rank() == 0 && (axes[i] == 0 || axes[i] == -1)) continue;
    int const a = normalize_axis("roll", int(axes[i]), x.rank());
    int64_t const n = std::max(x.shape()[a], int64_t{1});
    whole[a] = ((whole[a] + shifts[i] % n) % n + n) % n;
  }
  Observed const watch("roll");
  Tensor y = rolled(x, whole);
  if (tracked(x))
    record("roll", y, {&x}, [whole](Tensor const& g, Node const&) {
      Dims back = whole, axes = whole;
      for (int a = 0; a < back.rank(); ++a) {
        back[a] = -whole[a];
        axes[a] = a;
      }
      return std::array{roll(g, back, axes)};
    });
  return y;
}

Tensor roll(Tensor const& x, int64_t shift) {
  check_defined("roll", x);
  return roll(x.reshape({-1}), {shift}, {0}).reshape(x.shape());
}

Tensor flip(Tensor const& x, Dims const& axes) {
  check_defined("flip", x);
  Strides strides = x.strides();
  int64_t start = x.body()->offset;
  Dims checked;
  for (int64_t axis : axes)
    if (x.rank() > 0 || (axis != 0 && axis != -1)) checked.push_back(axis);
  auto const reversed = named_axes("flip", checked, x.rank());
  for (int a = 0; a < x.rank(); ++a) {
    if (!reversed[size_t(a)] || x.numel() == 0) continue;
    start += (x.shape()[a] - 1) * strides[a];
    strides[a] = -strides[a];
  }
  Observed const watch("flip");
  Tensor y = Tensor(x.body()->storage, start, x.shape(), strides, x.dtype()).clone();
  if (tracked(x)) record("flip", y, {&x}, [axes](Tensor const& g, Node const&) { return std::array{flip(g, axes)}; });
  return y;
}

Tensor fliplr(Tensor const& x) {
  check_defined("fliplr", x);
  check(x.rank() >= 2, "fliplr", [&] {
    return Complaint{fmt::format("expected a tensor of rank 2 or more, got shape {}", to_string(x.shape())),
                     "use flip for a vector"};
  });
  return flip(x, {1});
}

Tensor flipud(Tensor const& x) {
  check_defined("flipud", x);
  check(x.rank() >= 1, "flipud", [] { return Complaint{"expected a tensor of rank 1 or more", "add an axis"}; });
  return flip(x, {0});
}

Tensor rot90(Tensor const& x, int64_t times, int axis_a, int axis_b) {
  check_defined("rot90", x);
  int const a = normalize_axis("rot90", axis_a, x.rank()), b = normalize_axis("rot90", axis_b, x.rank());
  check(a != b, "rot90", [&] {
    return Complaint{fmt::format("expected two different axes, got {} and {}", axis_a, axis_b),
                     "name the axes of the plane that turns"};
  });
  switch ((times % 4 + 4) % 4) {
    case 1:
      return flip(x, {b}).transpose(a, b).contiguous();
    case 2:
      return flip(x, {a, b});
    case 3:
      return flip(x, {a}).transpose(a, b).contiguous();
    default:
      return x.clone();
  }
}

Tensor repeat(Tensor const& x, Dims const& counts) {
  check_defined("repeat", x);
  bool valid = counts.rank() >= x.rank();
  for (int64_t count : counts) valid &= count >= 0;
  check(valid, "repeat", [&] {
    return Complaint{fmt::format("expected a count of 0 or more for each axis of shape {}, got {}",
                                 to_string(x.shape()), to_string(counts)),
                     "give one count for each axis, with new axes in front"};
  });
  Shape shape = x.shape();
  while (shape.rank() < counts.rank()) shape.insert(0, 1);
  Tensor y = x.reshape(shape);
  for (int a = counts.rank() - 1; a >= 0; --a) {  // the innermost first: what is copied again is small
    if (counts[a] == 1) continue;
    int64_t before = 1, after = 1;
    for (int i = 0; i < counts.rank(); ++i) (i < a ? before : after) *= shape[i];
    multiply("repeat", shape, a, counts[a]);
    y = y.reshape({before, 1, after}).expand({before, counts[a], after}).reshape(shape);
  }
  return y.body() == x.body() || y.body()->storage == x.body()->storage ? y.clone() : y;
}

Tensor tile(Tensor const& x, Dims const& counts) {
  check_defined("tile", x);
  Dims all = counts;
  while (all.rank() < x.rank()) all.insert(0, 1);
  return repeat(x, all);
}

Tensor repeat_interleave(Tensor const& x, int64_t count, std::optional<int> axis) {
  check_defined("repeat_interleave", x);
  check(count >= 0, "repeat_interleave", [&] {
    return Complaint{fmt::format("expected a count of 0 or more, got {}", count), "pass how often each element stays"};
  });
  Tensor const from = axis ? atleast_1d(x) : x.reshape({-1});
  int const a = normalize_axis("repeat_interleave", axis.value_or(0), from.rank());
  int64_t before = 1, after = 1;
  for (int i = 0; i < from.rank(); ++i) (i <= a ? before : after) *= from.shape()[i];
  Shape shape = from.shape();
  multiply("repeat_interleave", shape, a, count);
  return from.reshape({before, 1, after}).expand({before, count, after}).reshape(shape);
}

Tensor repeat_interleave(Tensor const& counts) {
  check_defined("repeat_interleave", counts);
  check(counts.rank() == 1 && (counts.dtype() == Dtype::i64 || counts.dtype() == Dtype::i32), "repeat_interleave", [&] {
    return Complaint{fmt::format("expected counts [N] of i32 or i64, got shape {} of {}", to_string(counts.shape()),
                                 name(counts.dtype())),
                     "flatten the counts, and convert them with .to(Dtype::i64)"};
  });
  auto const each = counts.to_vector<int64_t>();
  int64_t total = 0;
  for (int64_t count : each) {
    check(count >= 0, "repeat_interleave", [&] {
      return Complaint{fmt::format("expected counts of 0 or more, got {}", count), "clamp the counts"};
    });
    total = count > std::numeric_limits<int64_t>::max() - total ? std::numeric_limits<int64_t>::max() : total + count;
  }
  Tensor y({total}, Dtype::i64);
  int64_t* to = y.data<int64_t>();
  for (size_t i = 0; i < each.size(); ++i) to = std::fill_n(to, each[i], int64_t(i));
  return y.to(counts.device());  // whose size depends on the counts, and so waits for them
}

Tensor repeat_interleave(Tensor const& x, Tensor const& counts, std::optional<int> axis) {
  check_defined("repeat_interleave", x);
  check_defined("repeat_interleave", counts);
  Tensor const from = axis ? atleast_1d(x) : x.reshape({-1});
  int const a = normalize_axis("repeat_interleave", axis.value_or(0), from.rank());
  if (counts.numel() == 1 && counts.rank() <= 1) return repeat_interleave(from, counts.item<int64_t>(), a);
  check(counts.rank() == 1 && counts.numel() == from.shape()[a], "repeat_interleave", [&] {
    return Complaint{fmt::format("counts of shape {} do not fit axis {} of shape {}", to_string(counts.shape()), a,
                                 to_string(from.shape())),
                     "give one count for each index of the axis, or one for all"};
  });
  return index_select(from, a, repeat_interleave(counts));
}

// ---- triangles and diagonals ----------------------------------------------------------------------------------------

namespace {

/// One byte-exact row at a time: [begin, end) of each stays, the rest is 0.
Tensor host_triangle(char const* op, Tensor const& x, int64_t offset, bool lower) {
  Tensor const from = x.detach().contiguous();
  Tensor y(x.shape(), x.dtype());
  Observed const watch(op, {&x}, {&y});
  int64_t const rows = x.size(-2), columns = x.size(-1), bytes = int64_t(size_of(x.dtype()));
  if (y.numel() > 0)
    parallel_for(y.numel() / columns, std::max(int64_t{65536} / (columns * bytes), int64_t{1}),
                 [&](int64_t first, int64_t last) {
                   for (int64_t r = first; r < last; ++r) {
                     // Column c stays where c − row ≤ offset (lower) or ≥ offset.
                     int64_t const row = r % rows, far = std::min(std::max(offset, -rows), columns);
                     int64_t const edge = std::clamp(row + far + lower, int64_t{0}, columns);
                     int64_t const begin = lower ? 0 : edge, end = lower ? edge : columns;
                     auto* const to = static_cast<char*>(y.raw()) + r * columns * bytes;
                     auto const* const source = static_cast<char const*>(from.raw()) + r * columns * bytes;
                     std::memset(to, 0, size_t(begin * bytes));
                     std::memcpy(to + begin * bytes, source + begin * bytes, size_t((end - begin) * bytes));
                     std::memset(to + end * bytes, 0, size_t((columns - end) * bytes));
                   }
                 });
  return y;
}

/// Column − row ≤ offset (lower) or ≥ offset stays.
Tensor device_triangle(Tensor const& x, int64_t offset, bool lower) {
  Tensor const away = arange(x.size(-1), x.device()) - arange(x.size(-2), x.device()).unsqueeze(1);
  return where(lower ? away <= offset : away >= offset, x.detach(), scalar(0, x.dtype()));
}

Tensor triangle(char const* op, Tensor const& x, int64_t offset, bool lower) {
  check_defined(op, x);
  check(x.rank() >= 2, op, [&] {
    return Complaint{fmt::format("expected matrices, got shape {}", to_string(x.shape())), "give it rank 2 or more"};
  });
  Tensor y = x.device().is_cpu() ? host_triangle(op, x, offset, lower) : device_triangle(x, offset, lower);
  if (tracked(x))
    record(op, y, {&x},
           [op, offset, lower](Tensor const& g, Node const&) { return std::array{triangle(op, g, offset, lower)}; });
  return y;
}

}  // namespace

Tensor tril(Tensor const& x, int64_t offset) { return triangle("tril", x, offset, true); }
Tensor triu(Tensor const& x, int64_t offset) { return triangle("triu", x, offset, false); }

Tensor diag_embed(Tensor const& x, int64_t offset, int axis1, int axis2) {
  check_defined("diag_embed", x);
  check(x.rank() > 0, "diag_embed", [] { return Complaint{"expected a tensor of rank 1 or more", "add an axis"}; });
  int const rank = x.rank() + 1;
  int const a = normalize_axis("diag_embed", axis1, rank), b = normalize_axis("diag_embed", axis2, rank);
  check(a != b, "diag_embed", [&] {
    return Complaint{fmt::format("expected two different axes, got {} and {}", axis1, axis2),
                     "name the two axes of the matrices"};
  });
  constexpr int64_t limit = int64_t{1} << 40;
  check(offset > -limit && offset < limit, "diag_embed", [&] {
    return Complaint{fmt::format("a matrix with diagonal {} has too many elements", offset), "check the offset"};
  });
  int64_t const n = x.size(-1) + std::abs(offset);
  Shape shape = x.shape();
  shape.erase(x.rank() - 1);
  shape.insert(std::min(a, b), n);
  shape.insert(std::max(a, b), n);
  return diagonal_scatter(zeros(shape, x.dtype(), x.device()), x, offset, a, b);
}

Tensor diag(Tensor const& x, int64_t offset) {
  check_defined("diag", x);
  check(x.rank() == 1 || x.rank() == 2, "diag", [&] {
    return Complaint{fmt::format("expected a vector or a matrix, got shape {}", to_string(x.shape())),
                     "use diagonal or diag_embed for more axes"};
  });
  return x.rank() == 1 ? diag_embed(x, offset) : diagonal(x, offset).clone();
}

Tensor diagflat(Tensor const& x, int64_t offset) {
  check_defined("diagflat", x);
  return diag_embed(x.reshape({-1}), offset);
}

// ---- grids ----------------------------------------------------------------------------------------------------------

std::vector<Tensor> meshgrid(std::vector<Tensor> const& tensors, Indexing indexing) {
  check_list("meshgrid", tensors);
  Shape grid;
  for (Tensor const& t : tensors) {
    check(t.rank() <= 1, "meshgrid", [&] {
      return Complaint{fmt::format("expected vectors, got shape {}", to_string(t.shape())), "flatten it"};
    });
    grid.push_back(t.numel());
  }
  bool const exchanged = indexing == Indexing::xy && tensors.size() > 1;
  std::vector<Tensor> all;
  for (int i = 0; i < grid.rank(); ++i) {
    Shape along = Dims::filled(grid.rank(), 1);
    along[i] = grid[i];
    Tensor const y = tensors[size_t(i)].reshape(along).expand(grid);
    all.push_back(exchanged ? y.transpose(0, 1) : y);
  }
  return all;
}

Tensor cartesian_prod(std::vector<Tensor> const& tensors) {
  check_list("cartesian_prod", tensors);
  for (Tensor const& t : tensors)
    check(t.rank() == 1, "cartesian_prod", [&] {
      return Complaint{fmt::format("expected vectors, got shape {}", to_string(t.shape())), "flatten it"};
    });
  if (tensors.size() == 1) return tensors[0];
  return stack(meshgrid(tensors), -1).reshape({-1, int64_t(tensors.size())});
}

Tensor combinations(Tensor const& x, int64_t r, bool with_replacement) {
  check_defined("combinations", x);
  check(x.rank() == 1 && r >= 0, "combinations", [&] {
    return Complaint{
        fmt::format("expected a vector and 0 elements or more of it, got shape {} and {}", to_string(x.shape()), r),
        "flatten the tensor"};
  });
  if (r == 0) return empty({0}, x.dtype(), x.device());
  int64_t const n = x.numel();
  double ways = 1;
  for (int64_t k = 0; k < std::min(r, n) && ways < 0x1p50; ++k)
    ways *= double(with_replacement ? n + r - 1 - k : n - k) / double(k + 1);
  check(ways * double(r) < 0x1p40, "combinations", [&] {
    return Complaint{fmt::format("{} elements of {} can be taken in too many ways to hold", r, n), "take fewer"};
  });
  std::vector<int64_t> all, at;
  // Depth first: each choice is followed by those that come after it.
  std::function<void(int64_t)> const choose = [&](int64_t from) {
    if (int64_t(at.size()) == r) {
      all.insert(all.end(), at.begin(), at.end());
      return;
    }
    for (int64_t i = from; i < n; ++i) {
      at.push_back(i);
      choose(with_replacement ? i : i + 1);
      at.pop_back();
    }
  };
  if (n >= r || with_replacement) choose(0);
  return take(x, tensor(all, {int64_t(all.size()) / r, r}).to(x.device()));
}

}  // namespace heed
