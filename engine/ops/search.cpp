// Places in sorted sequences, and counts by value.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/along.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>

namespace heed {
namespace {

constexpr int64_t grain = 4096;  // searches a chunk

/// The first place in `line` (n elements, read through `sorter` if given) whose element is not below `v`, or is above
/// it for `right`; n for NaN.
template <class T>
int64_t place_of(T v, T const* line, int64_t const* sorter, int64_t n, bool right) {
  int64_t low = 0, high = n;
  while (low < high) {
    int64_t const middle = low + (high - low) / 2;
    T const at = line[sorter ? sorter[middle] : middle];
    if (right ? at > v : at >= v)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/// The type that two operands are compared in.
Dtype common(Tensor const& a, Tensor const& b) {
  Dtype const dtype = promote(a.dtype(), b.dtype());
  return is_half(dtype) ? Dtype::f32 : dtype;
}

void check_sequence(char const* op, Tensor const& sorted, Tensor const& values, Tensor const& sorter) {
  check_defined(op, sorted);
  check_defined(op, values);
  check(sorted.rank() >= 1, op, [] {
    return Complaint{"expected a sorted sequence of rank 1 or more, got rank 0", "pass a tensor with an axis"};
  });
  bool leading = sorted.rank() == 1;
  if (!leading && sorted.rank() == values.rank()) {
    leading = true;
    for (int a = 0; a + 1 < sorted.rank(); ++a) leading &= sorted.shape()[a] == values.shape()[a];
  }
  check(leading, op, [&] {
    return Complaint{fmt::format("sequences of shape {} do not go with values of shape {}", to_string(sorted.shape()),
                                 to_string(values.shape())),
                     "pass one sequence, or one for each row of values"};
  });
  if (!sorter.defined()) return;
  check(sorter.dtype() == Dtype::i64 && sorter.shape() == sorted.shape(), op, [&] {
    return Complaint{fmt::format("expected a sorter of i64 {}, got {} {}", to_string(sorted.shape()),
                                 name(sorter.dtype()), to_string(sorter.shape())),
                     "pass argsort of the sequences"};
  });
  int64_t const n = sorted.shape().back();
  for (int64_t at : sorter.to_vector<int64_t>())
    check(at >= 0 && at < n, op, [&] {
      return Complaint{fmt::format("the sorter names place {} in sequences of {}", at, n),
                       "pass argsort of the sequences"};
    });
}

}  // namespace

Tensor searchsorted(Tensor const& sorted, Tensor const& values, SearchOptions const& options) {
  check_sequence("searchsorted", sorted, values, options.sorter);
  Dtype const dtype = common(sorted, values);
  Tensor const lines = sorted.detach().to(dtype).contiguous(), wanted = values.detach().to(dtype).contiguous();
  Tensor const order = options.sorter.defined() ? options.sorter.contiguous() : Tensor();
  Tensor y(values.shape(), Dtype::i64);
  int64_t* const to = y.data<int64_t>();
  int64_t const n = sorted.shape().back(), each = sorted.rank() == 1 ? y.numel() : values.shape().back();
  Observed const watch("searchsorted", {&lines, &wanted}, {&y});
  dispatch_computed("searchsorted", dtype, [&]<class T>(Type<T>) {
    auto const *const line = static_cast<T const*>(lines.raw()), *const vs = static_cast<T const*>(wanted.raw());
    int64_t const* const sorter = order.defined() ? order.data<int64_t>() : nullptr;
    parallel_for(y.numel(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t const from = i / each * n;
        to[i] = place_of(vs[i], line + from, sorter ? sorter + from : nullptr, n, options.right);
      }
    });
  });
  return y;
}

Tensor searchsorted(Tensor const& sorted, double value, SearchOptions const& options) {
  check_defined("searchsorted", sorted);
  bool const whole = value == std::floor(value) && std::abs(value) < 0x1p62;
  Dtype const dtype = is_floating(sorted.dtype()) ? sorted.dtype() : whole ? Dtype::i64 : Dtype::f64;
  return searchsorted(sorted, scalar(value, dtype), options);
}

Tensor bucketize(Tensor const& values, Tensor const& boundaries, bool right) {
  check_defined("bucketize", boundaries);
  check(boundaries.rank() == 1, "bucketize", [&] {
    return Complaint{fmt::format("expected boundaries of rank 1, got {}", to_string(boundaries.shape())),
                     "use searchsorted for a sequence a row"};
  });
  return searchsorted(boundaries, values, {.right = right});
}

Tensor bincount(Tensor const& x, Tensor const& weights, int64_t minlength) {
  check_defined("bincount", x);
  check(x.rank() == 1 && !is_floating(x.dtype()) && x.dtype() != Dtype::boolean, "bincount", [&] {
    return Complaint{fmt::format("expected integers of rank 1, got {} {}", name(x.dtype()), to_string(x.shape())),
                     "flatten them, and convert with .to(Dtype::i64)"};
  });
  check(minlength >= 0, "bincount", [&] {
    return Complaint{fmt::format("expected minlength of 0 or more, got {}", minlength), "pass a length"};
  });
  check(!weights.defined() || weights.shape() == x.shape(), "bincount", [&] {
    return Complaint{
        fmt::format("{} weights do not go with {} integers", to_string(weights.shape()), to_string(x.shape())),
        "pass one weight an integer"};
  });
  no_gradient("bincount", {weights});
  auto const values = x.to_vector<int64_t>();
  int64_t length = minlength;
  for (int64_t v : values) {
    check(v >= 0, "bincount", [&] {
      return Complaint{fmt::format("expected integers of 0 or more, got {}", v), "shift them"};
    });
    length = std::max(length, v + 1);
  }
  if (!weights.defined()) {
    Tensor y = zeros({length}, Dtype::i64);
    for (int64_t v : values) ++y.data<int64_t>()[v];
    return y;
  }
  auto const each = weights.to_vector<double>();
  Tensor y = zeros({length}, weights.dtype() == Dtype::f32 ? Dtype::f32 : Dtype::f64);
  dispatch_floating("bincount", y.dtype(), [&]<class T>(Type<T>) {
    for (size_t i = 0; i < values.size(); ++i) y.data<T>()[values[i]] += T(each[i]);
  });
  return y;
}

Tensor histc(Tensor const& x, int64_t bins, double min, double max) {
  check_defined("histc", x);
  check(bins > 0, "histc", [&] {
    return Complaint{fmt::format("expected 1 bin or more, got {}", bins), "pass the number of bins"};
  });
  no_gradient("histc", {x});
  if (is_half(x.dtype())) return histc(x.detach().to(Dtype::f32), bins, min, max).to(x.dtype());
  Tensor const flat = x.detach().contiguous();
  Tensor y = zeros({bins}, x.dtype());
  dispatch_floating("histc", x.dtype(), [&]<class T>(Type<T>) {
    T const* const xs = flat.data<T>();
    int64_t const n = flat.numel();
    T low = T(min), high = T(max);
    if (low == high && n > 0) {
      low = heed::min(flat).item<T>();
      high = heed::max(flat).item<T>();
    }
    if (low == high) low -= 1, high += 1;
    check(std::isfinite(low) && std::isfinite(high) && low < high, "histc", [&] {
      return Complaint{fmt::format("expected a finite range with min < max, got {} to {}", low, high),
                       "pass the range to count in"};
    });
    for (int64_t i = 0; i < n; ++i)
      if (xs[i] >= low && xs[i] <= high)
        y.data<T>()[std::min(int64_t((xs[i] - low) * T(bins) / (high - low)), bins - 1)] += 1;
  });
  return y;
}

Tensor isin(Tensor const& elements, Tensor const& tests, bool invert) {
  check_defined("isin", elements);
  check_defined("isin", tests);
  Dtype const dtype = common(elements, tests);
  Tensor const wanted = elements.detach().to(dtype).contiguous();
  Tensor const known = sort(tests.detach().to(dtype).reshape({tests.numel()}), 0).values;
  Tensor y(elements.shape(), Dtype::boolean);
  Observed const watch("isin", {&wanted, &known}, {&y});
  dispatch_computed("isin", dtype, [&]<class T>(Type<T>) {
    auto const *const vs = static_cast<T const*>(wanted.raw()), *const line = static_cast<T const*>(known.raw());
    bool* const to = y.data<bool>();
    int64_t const n =
        std::find_if(line, line + known.numel(), [](T v) { return v != v; }) - line;  // NaN equals nothing
    parallel_for(wanted.numel(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t const at = place_of(vs[i], line, nullptr, n, false);
        to[i] = (at < n && line[at] == vs[i]) != invert;
      }
    });
  });
  return y;
}

}  // namespace heed
