// Places in sorted sequences, and counts by value.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/along.h>
#include <heed/engine/ops/search.h>
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

DeviceSearchKernels const& on(char const* op, Device device) { return device_kernels<DeviceSearchKernels>(device, op); }

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
  if (!sorter.device().is_cpu()) return;  // kernels check it
  int64_t const n = sorted.shape().back();
  for (int64_t at : sorter.to_vector<int64_t>())
    check(at >= 0 && at < n, op, [&] {
      return Complaint{fmt::format("the sorter names place {} in sequences of {}", at, n),
                       "pass argsort of the sequences"};
    });
}

/// On an accelerator: how many of `bins` (i64, contiguous) are 0, 1, … length − 1; all are.
Tensor counted(Tensor const& bins, int64_t length) {
  Tensor y({length}, Dtype::i64, bins.device());
  on("bincount", bins.device()).count(bins.address<int64_t>(), bins.numel(), length, y.address<int64_t>());
  return y;
}
/// The same where some do not count.
Tensor counted(Tensor const& bins, Tensor const& count, int64_t length) {
  return counted(where(count, bins, length).contiguous(), length + 1).slice(0, 0, length);
}

}  // namespace

Tensor searchsorted(Tensor const& sorted, Tensor const& values, SearchOptions const& options) {
  check_sequence("searchsorted", sorted, values, options.sorter);
  Dtype const dtype = common(sorted, values);
  Tensor const lines = sorted.detach().to(dtype).contiguous(), wanted = values.detach().to(dtype).contiguous();
  Tensor const order = options.sorter.defined() ? options.sorter.contiguous() : Tensor();
  Device const device = common_device("searchsorted", {&lines, &wanted, &order});
  Tensor y(values.shape(), Dtype::i64, device);
  int64_t const n = sorted.shape().back(), each = sorted.rank() == 1 ? y.numel() : values.shape().back();
  Observed const watch("searchsorted", {&lines, &wanted}, {&y});
  if (!device.is_cpu()) {
    Tensor const line = lines.to(device), value = wanted.to(device),
                 sorter = order.defined() ? order.to(device) : order;
    on("searchsorted", device)
        .search(dtype, line.address(), sorter.defined() ? sorter.address<int64_t>() : nullptr, n, each, value.address(),
                y.numel(), options.right, y.address<int64_t>());
    return y;
  }
  int64_t* const to = y.data<int64_t>();
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
  auto const not_negative = [](int64_t v) {
    check(v >= 0, "bincount", [&] {
      return Complaint{fmt::format("expected integers of 0 or more, got {}", v), "shift them"};
    });
  };
  int64_t length = minlength;
  if (Device const device = common_device("bincount", {&x, &weights}); !device.is_cpu()) {
    Tensor const wide = x.to(device).to(Dtype::i64).contiguous();
    if (wide.numel() > 0) {
      not_negative(min(wide).item<int64_t>());
      length = std::max(length, max(wide).item<int64_t>() + 1);
    }
    if (!weights.defined()) return counted(wide, length);
    Dtype const dtype = weights.dtype() == Dtype::f32 ? Dtype::f32 : Dtype::f64;
    return index_add(zeros({length}, dtype, device), 0, wide, weights.detach().to(device).to(dtype));
  }
  auto const values = x.to_vector<int64_t>();
  for (int64_t v : values) {
    not_negative(v);
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
  Tensor y = zeros({bins}, x.dtype(), x.device());
  dispatch_floating("histc", x.dtype(), [&]<class T>(Type<T>) {
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
    if (!x.device().is_cpu()) {
      Tensor const inside = (flat >= double(low)) & (flat <= double(high));
      Tensor const share = (where(inside, flat, double(low)) - double(low)) * double(T(bins)) / double(high - low);
      y = counted(clamp_max(share.to(Dtype::i64), bins - 1), inside, bins).to(x.dtype());
      return;
    }
    T const* const xs = flat.data<T>();
    for (int64_t i = 0; i < n; ++i)
      if (xs[i] >= low && xs[i] <= high)
        y.data<T>()[std::min(int64_t((xs[i] - low) * T(bins) / (high - low)), bins - 1)] += 1;
  });
  return y;
}

namespace {

/// The points x [.., D] as columns, after checks that all histograms share.
std::vector<Tensor> columns_of(char const* op, Tensor const& x, size_t axes, HistogramOptions const& options) {
  check_defined(op, x);
  no_gradient(op, {x, options.weight});
  if (x.dtype() != Dtype::f32 && x.dtype() != Dtype::f64) detail::unsupported_dtype(op, x.dtype(), "f32 or f64");
  check(x.rank() >= 1 && axes > 0 && x.size(-1) == int64_t(axes), op, [&] {
    return Complaint{fmt::format("bins of {} axes do not go with points {}", axes, to_string(x.shape())),
                     "give bins for each of the numbers that make a point"};
  });
  check(options.range.empty() || options.range.size() == 2 * axes, op, [&] {
    return Complaint{fmt::format("expected a range of {} numbers, got {}", 2 * axes, options.range.size()),
                     "pass the least and the largest value of each axis"};
  });
  Shape const samples = reduced_shape(op, x, {-1});
  check(!options.weight.defined() || (options.weight.shape() == samples && options.weight.dtype() == x.dtype()), op,
        [&] {
          return Complaint{fmt::format("{} weights {} do not go with points {} {}", name(options.weight.dtype()),
                                       to_string(options.weight.shape()), name(x.dtype()), to_string(x.shape())),
                           "pass one weight a point, in the type of the points"};
        });
  std::vector<Tensor> columns;
  for (size_t d = 0; d < axes; ++d) columns.push_back(x.detach().select(-1, int64_t(d)).reshape({numel(samples)}));
  return columns;
}

/// `bins` equal parts of the range that is given for an axis, or of the values there.
Tensor even_edges(char const* op, Tensor const& values, int64_t bins, std::vector<double> const& range, size_t axis) {
  check(bins > 0, op, [&] {
    return Complaint{fmt::format("expected 1 bin or more, got {}", bins), "pass the number of bins"};
  });
  double low = 0, high = values.numel() ? 0 : 1;
  if (!range.empty()) {
    low = range[2 * axis], high = range[2 * axis + 1];
  } else if (values.numel()) {
    low = heed::min(values).item<double>(), high = heed::max(values).item<double>();
  }
  check(std::isfinite(low) && std::isfinite(high) && low <= high, op, [&] {
    return Complaint{fmt::format("expected a finite range with min <= max, got {} to {}", low, high),
                     "pass the range to count in"};
  });
  if (low == high) low -= 0.5, high += 0.5;
  return linspace(low, high, bins + 1, values.dtype()).to(values.device());
}

/// Counts of the columns' points in the cells between the edges.
Tensor cells(std::vector<Tensor> const& columns, std::vector<Tensor> const& edges, HistogramOptions const& options) {
  Dtype const dtype = columns[0].dtype();
  Device const device = columns[0].device();
  Tensor cell = zeros(columns[0].shape(), Dtype::i64, device),
         inside = ones(columns[0].shape(), Dtype::boolean, device);
  Shape shape;
  for (size_t d = 0; d < columns.size(); ++d) {
    int64_t const bins = edges[d].numel() - 1;
    Tensor const at = searchsorted(edges[d], columns[d], {.right = true}) - 1;
    inside = inside & (columns[d] >= edges[d].select(0, 0)) & (columns[d] <= edges[d].select(0, bins));
    cell = cell * bins + clamp(at, 0, bins - 1);
    shape.push_back(bins);
  }
  Tensor y;
  if (!device.is_cpu() && !options.weight.defined()) {
    y = counted(cell, inside, numel(shape)).to(dtype).reshape(shape);
  } else {
    Tensor const weight =
        options.weight.defined() ? options.weight.detach().reshape(cell.shape()) : ones(cell.shape(), dtype);
    y = index_add(zeros({numel(shape)}, dtype, device), 0, cell, where(inside, weight, 0.0)).reshape(shape);
  }
  if (!options.density) return y;
  y = y / sum(y);
  for (size_t d = 0; d < edges.size(); ++d) {
    Shape along = Dims::filled(y.rank(), 1);
    along[int(d)] = shape[int(d)];
    y = y / diff(edges[d]).reshape(along);
  }
  return y;
}

/// One list of edges as it was given.
void check_edges(char const* op, Tensor const& edges, Tensor const& x) {
  check_defined(op, edges);
  no_gradient(op, {edges});
  check(edges.rank() == 1 && edges.numel() >= 2 && edges.dtype() == x.dtype(), op, [&] {
    return Complaint{fmt::format("expected ascending edges [2 or more] of {}, got {} {}", name(x.dtype()),
                                 name(edges.dtype()), to_string(edges.shape())),
                     "pass one edge more than bins"};
  });
}

template <class Bins>
std::pair<Tensor, std::vector<Tensor>> histogram_of(char const* op, Tensor const& x, std::vector<Bins> const& bins,
                                                    HistogramOptions const& options) {
  auto const columns = columns_of(op, x, bins.size(), options);
  std::vector<Tensor> edges;
  for (size_t d = 0; d < bins.size(); ++d) {
    if constexpr (std::is_same_v<Bins, Tensor>) {
      check_edges(op, bins[d], x);
      edges.push_back(bins[d]);
    } else {
      edges.push_back(even_edges(op, columns[d], bins[d], options.range, d));
    }
  }
  return {cells(columns, edges, options), edges};
}

}  // namespace

std::pair<Tensor, std::vector<Tensor>> histogramdd(Tensor const& x, std::vector<int64_t> const& bins,
                                                   HistogramOptions const& options) {
  return histogram_of("histogramdd", x, bins, options);
}
std::pair<Tensor, std::vector<Tensor>> histogramdd(Tensor const& x, std::vector<Tensor> const& edges,
                                                   HistogramOptions const& options) {
  return histogram_of("histogramdd", x, edges, options);
}
std::pair<Tensor, Tensor> histogram(Tensor const& x, int64_t bins, HistogramOptions const& options) {
  check_defined("histogram", x);
  auto const [counts, edges] = histogram_of("histogram", x.unsqueeze(-1), std::vector{bins}, options);
  return {counts, edges[0]};
}
std::pair<Tensor, Tensor> histogram(Tensor const& x, Tensor const& edges, HistogramOptions const& options) {
  check_defined("histogram", x);
  auto const [counts, same] = histogram_of("histogram", x.unsqueeze(-1), std::vector{edges}, options);
  return {counts, same[0]};
}

Tensor isin(Tensor const& elements, Tensor const& tests, bool invert) {
  check_defined("isin", elements);
  check_defined("isin", tests);
  Dtype const dtype = common(elements, tests);
  Device const device = common_device("isin", {&elements, &tests});
  Tensor const wanted = elements.detach().to(device).to(dtype).contiguous();
  Tensor const known = sort(tests.detach().to(device).to(dtype).reshape({tests.numel()}), 0).values;
  Tensor y(elements.shape(), Dtype::boolean, device);
  Observed const watch("isin", {&wanted, &known}, {&y});
  if (!device.is_cpu()) {
    on("isin", device)
        .is_in(dtype, known.address(), known.numel(), wanted.address(), wanted.numel(), invert, y.address<bool>());
    return y;
  }
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
