#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/shape.h>

#include <algorithm>
#include <limits>

namespace heed {

namespace {
void check_rank(int64_t rank) {
  check(rank <= Dims::max_rank, "shape", [&] {
    return Complaint{fmt::format("expected at most {} axes, got {}", Dims::max_rank, rank),
                     "join axes with reshape first"};
  });
}
}  // namespace

Dims::Dims(std::initializer_list<int64_t> values) {
  check_rank(int64_t(values.size()));
  for (int64_t value : values) values_[rank_++] = value;
}

Dims Dims::filled(int rank, int64_t value) {
  check_rank(rank);
  Dims dims;
  dims.rank_ = rank;
  std::fill_n(dims.values_, rank, value);
  return dims;
}

void Dims::push_back(int64_t value) { insert(rank_, value); }

void Dims::insert(int axis, int64_t value) {
  check_rank(rank_ + 1);
  std::copy_backward(values_ + axis, values_ + rank_, values_ + rank_ + 1);
  values_[axis] = value;
  ++rank_;
}

void Dims::erase(int axis) {
  std::copy(values_ + axis + 1, values_ + rank_, values_ + axis);
  values_[--rank_] = 0;
}

std::string to_string(Dims const& dims) { return fmt::format("[{}]", fmt::join(dims, ", ")); }

int64_t numel(Shape const& shape) {
  constexpr int64_t limit = std::numeric_limits<int64_t>::max() / 16;
  int64_t count = 1;
  bool empty = false;
  for (int64_t size : shape) {
    check(size >= 0, "shape", [&] {
      return Complaint{fmt::format("expected sizes of 0 or more, got {}", to_string(shape)),
                       "check the size computation"};
    });
    empty |= size == 0;
  }
  if (empty) return 0;
  for (int64_t size : shape) {
    check(size <= limit / count, "shape", [&] {
      return Complaint{fmt::format("{} has more elements than memory has addresses", to_string(shape)),
                       "check the size computation for overflow"};
    });
    count *= size;
  }
  return count;
}

Strides contiguous_strides(Shape const& shape) {
  Strides strides = shape;
  int64_t step = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = step;
    // Wraps where a size of 0 lets the others be huge: no element is there to be reached.
    step = int64_t(uint64_t(step) * uint64_t(std::max(shape[axis], int64_t{1})));
  }
  return strides;
}

bool is_contiguous(Shape const& shape, Strides const& strides) {
  int64_t step = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    if (shape[axis] == 0) return true;
    if (shape[axis] != 1 && strides[axis] != step) return false;
    step *= shape[axis];
  }
  return true;
}

Shape broadcast(std::string_view op, Shape const& a, Shape const& b) {
  if (a == b) return a;
  int const rank = std::max(a.rank(), b.rank());
  Shape out = Dims::filled(rank, 1);
  for (int i = 1; i <= rank; ++i) {
    int64_t const x = i <= a.rank() ? a[a.rank() - i] : 1, y = i <= b.rank() ? b[b.rank() - i] : 1;
    check(x == y || x == 1 || y == 1, op, [&] {
      return Complaint{fmt::format("shapes {} and {} do not broadcast: axis -{} has sizes {} and {}", to_string(a),
                                   to_string(b), i, x, y),
                       "make the sizes equal, or one of them 1 (unsqueeze, expand)"};
    });
    out[rank - i] = x == 1 ? y : x;
  }
  return out;
}

Strides broadcast_strides(Shape const& shape, Strides const& strides, Shape const& to) {
  Strides out = Dims::filled(to.rank(), 0);
  int const skip = to.rank() - shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (shape[axis] != 1) out[axis + skip] = strides[axis];
  return out;
}

int normalize_axis(std::string_view op, int axis, int rank) {
  check(axis >= -rank && axis < rank, op, [&] {
    return Complaint{
        fmt::format("expected an axis from {} to {} for a tensor of rank {}, got {}", -rank, rank - 1, rank, axis),
        "count axes from 0, or from -1 at the end"};
  });
  return axis < 0 ? axis + rank : axis;
}

}  // namespace heed
