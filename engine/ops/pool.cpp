// Pooling. A mean over windows is a sum along each axis in turn; a maximum is read back by index.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/pool.h>
#include <heed/engine/ops/spatial.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed {
namespace {

struct PoolOptions {
  Spatial stride, padding = 0, dilation = 1;
  bool ceil_mode = false;
};

std::vector<Windows> sliding(char const* op, Tensor const& x, int axes, Spatial const& kernels, PoolOptions const& o) {
  Dims const kernel = per_axis(op, "kernel", kernels, axes, 1);
  Dims const stride = o.stride.rank() ? per_axis(op, "stride", o.stride, axes, 1) : kernel;
  Dims const padding = per_axis(op, "padding", o.padding, axes, 0);
  Dims const dilation = per_axis(op, "dilation", o.dilation, axes, 1);
  std::vector<Windows> all(static_cast<size_t>(axes));
  for (int a = 0; a < axes; ++a) {
    int64_t const in = x.size(a - axes), pad = padding[a], reach = dilation[a] * (kernel[a] - 1) + 1;
    check(pad <= reach / 2, op, [&] {
      return Complaint{fmt::format("padding {} is more than half of a window that spans {}", pad, reach),
                       "use less padding"};
    });
    int64_t const room = in + 2 * pad - reach + (o.ceil_mode ? stride[a] - 1 : 0);
    int64_t out = room < 0 ? 0 : room / stride[a] + 1;
    if (o.ceil_mode && (out - 1) * stride[a] >= in + pad) --out;  // it would begin in the padding behind x
    check(out > 0, op, [&] {
      return Complaint{fmt::format("a window that spans {} does not fit axis {} of x {} with padding {}", reach,
                                   x.rank() - axes + a, to_string(x.shape()), pad),
                       "use a smaller kernel or dilation, or more padding"};
    });
    all[size_t(a)] = {in, out, stride[a], reach, dilation[a], pad};
  }
  return all;
}

std::vector<Windows> adaptive(char const* op, Tensor const& x, int axes, Spatial const& sizes) {
  Dims const out = per_axis(op, "output size", sizes, axes, -1);
  std::vector<Windows> all(static_cast<size_t>(axes));
  for (int a = 0; a < axes; ++a) {
    int64_t const in = x.size(a - axes);
    all[size_t(a)] = {.in = in, .count = out[a] < 0 ? in : out[a], .stride = 0};
  }
  return all;
}

Shape pooled_shape(Tensor const& x, std::vector<Windows> const& windows) {
  Shape shape = x.shape();
  for (size_t a = 0; a < windows.size(); ++a) shape[x.rank() - int(windows.size()) + int(a)] = windows[a].count;
  return shape;
}

int64_t product(Shape const& shape, int from, int to) {
  int64_t n = 1;
  for (int a = from; a < to; ++a) n *= shape[a];
  return n;
}

/// The longest run of windows [low, high) that hold `taps` elements each, `stride` apart.
struct Run {
  int64_t low = 0, high = 0, stride = 1, taps = 0;
};
Run longest_run(Windows const& w) {
  auto const taps = [&](int64_t i) { return (w.last(i) - w.first(i) + w.step - 1) / w.step; };
  Run best;
  for (int64_t low = 0; low < w.count;) {
    int64_t high = low + 1;
    while (high < w.count && taps(high) == taps(low) &&
           w.first(high) - w.first(high - 1) == w.first(low + 1) - w.first(low))
      ++high;
    if (high - low > best.high - best.low)
      best = {low, high, high - low > 1 ? w.first(low + 1) - w.first(low) : 1, taps(low)};
    low = high;
  }
  return best;
}

/// The first of the largest elements of each window, or its last NaN. A window whose every tap falls into the padding
/// (dilation can step over all of x) gives the lowest value and index −1.
template <class T>
void maxima(Windows const (&w)[3], int64_t planes, T const* x, T* y, int64_t* index) {
  int64_t const wide = w[2].count, positions = w[0].count * w[1].count * wide, size = w[0].in * w[1].in * w[2].in;
  auto const one = [&](T const* from, int64_t oz, int64_t oy, int64_t ox, T& value, int64_t& at) {
    int64_t const first[] = {w[0].first(oz), w[1].first(oy), w[2].first(ox)},
                  last[] = {w[0].last(oz), w[1].last(oy), w[2].last(ox)};
    at = (first[0] * w[1].in + first[1]) * w[2].in + first[2];
    bool const some = first[0] < last[0] && first[1] < last[1] && first[2] < last[2];
    using Limits = std::numeric_limits<T>;
    T best = some ? from[at] : Limits::has_infinity ? T(-Limits::infinity()) : Limits::lowest();
    if (!some) at = -1;
    for (int64_t z = first[0]; z < last[0]; z += w[0].step)
      for (int64_t yy = first[1]; yy < last[1]; yy += w[1].step) {
        int64_t const row = (z * w[1].in + yy) * w[2].in;
        for (int64_t xx = first[2]; xx < last[2]; xx += w[2].step) {
          T const here = from[row + xx];
          if (here > best || here != here) best = here, at = row + xx;
        }
      }
    value = best;
  };

  // Where the windows of the last two axes are alike, a kernel runs along them; it keeps places in T.
  constexpr int64_t largest_place = 1 << 24;
  Run rows = longest_run(w[1]), columns = longest_run(w[2]);
  if (!std::is_floating_point_v<T> || rows.taps < 1 || columns.taps < 1 || size > largest_place) rows = columns = {};
  parallel_for(planes, std::max(int64_t{1}, 4096 / std::max(int64_t{1}, positions)), [&](int64_t begin, int64_t end) {
    std::vector<int64_t> tap;
    for (int64_t plane = begin; plane < end; ++plane) {
      T const* const from = x + plane * size;
      for (int64_t oz = 0; oz < w[0].count; ++oz) {
        int64_t const p = plane * positions + oz * w[1].count * wide;
        if constexpr (std::is_floating_point_v<T>) {
          tap.clear();
          for (int64_t z = w[0].first(oz), end = w[0].last(oz); z < end; z += w[0].step)
            for (int64_t ty = 0; ty < rows.taps; ++ty)
              for (int64_t tx = 0; tx < columns.taps; ++tx)
                tap.push_back((z * w[1].in + ty * w[1].step) * w[2].in + tx * w[2].step);
          if (!tap.empty()) {
            int64_t const at = p + rows.low * wide + columns.low;
            kernels<PoolKernels>().of<T>().maxima({.x = from,
                                                   .first = w[1].first(rows.low) * w[2].in + w[2].first(columns.low),
                                                   .x_row = rows.stride * w[2].in,
                                                   .stride = columns.stride,
                                                   .tap = tap.data(),
                                                   .taps = int64_t(tap.size()),
                                                   .rows = rows.high - rows.low,
                                                   .n = columns.high - columns.low,
                                                   .y = y + at,
                                                   .index = index + at,
                                                   .y_row = wide});
          }
        }
        for (int64_t oy = 0; oy < w[1].count; ++oy)
          for (int64_t ox = 0; ox < wide; ++ox) {
            bool const inner = oy >= rows.low && oy < rows.high && !tap.empty();
            if (inner && ox == columns.low) ox = columns.high;
            if (ox < wide) one(from, oz, oy, ox, y[p + oy * wide + ox], index[p + oy * wide + ox]);
          }
      }
    }
  });
}

/// dx [planes, elements of a plane] from g and index [planes, windows].
Tensor spread_maxima(Tensor const& g, Tensor const& index, std::array<Windows, 3> const& w) {
  int64_t const planes = g.size(0), n = g.size(1), size = w[0].in * w[1].in * w[2].in;
  if (g.device().is_cpu()) return scatter_planes(g.unsqueeze(1), index, size).squeeze(1);
  Tensor dx({planes, size}, g.dtype(), g.device());
  Tensor const from = g.detach().contiguous(), where = index.contiguous();
  Observed const watch("max_pool_backward", {&from, &where}, {&dx});
  dispatch_floating("max_pool", g.dtype(), [&]<class T>(Type<T>) {
    device_kernels<DevicePoolKernels>(g.device(), "max_pool")
        .of<T>()
        .spread({w[0], w[1], w[2]}, planes, from.address<T>(), where.address<int64_t>(), dx.address<T>());
  });
  if (tracked(g))
    record("max_pool_backward", dx, {&g}, [index = Saved(where), planes, n](Tensor const& h, Node const& node) {
      return std::array{gather_planes(h.unsqueeze(1), index.get(node)).reshape({planes, n})};
    });
  return dx;
}

std::pair<Tensor, Tensor> max_pool(char const* op, Tensor const& x, std::vector<Windows> const& windows) {
  check(x.dtype() != Dtype::boolean, op, [] {
    return Complaint{"bools have no order", "convert with .to(Dtype::u8)"};
  });
  if (is_half(x.dtype())) {
    auto const [y, index] = max_pool(op, x.to(Dtype::f32), windows);
    return {y.to(x.dtype()), index};
  }
  int const axes = int(windows.size()), lead = x.rank() - axes;
  Shape const shape = pooled_shape(x, windows);
  Device const device = x.device();
  if (!device.is_cpu() && !is_floating(x.dtype()) && x.dtype() != Dtype::i64) {
    auto const [y, index] = max_pool(op, x.to(Dtype::i64), windows);
    return {y.to(x.dtype()), index};
  }
  Tensor y(shape, x.dtype(), device), index(shape, Dtype::i64, device);
  Observed const watch("max_pool", {&x}, {&y, &index});
  Tensor const from = x.detach().contiguous();
  std::array<Windows, 3> w;
  std::copy(windows.begin(), windows.end(), w.end() - axes);
  int64_t const planes = product(shape, 0, lead), n = product(shape, lead, x.rank());
  auto const run = [&]<class T>(auto const& kernel, Type<T>) {
    kernel({w[0], w[1], w[2]}, planes, from.address<T>(), y.address<T>(), index.address<int64_t>());
  };
  if (y.numel() == 0) {
  } else if (device.is_cpu()) {
    dispatch(x.dtype(), [&]<class T>(Type<T> type) { run(maxima<T>, type); });
  } else {
    auto const& kernels = device_kernels<DevicePoolKernels>(device, op);
    if (x.dtype() == Dtype::i64)
      run(kernels.maxima_i64, Type<int64_t>{});
    else
      dispatch_floating(op, x.dtype(), [&]<class T>(Type<T> type) { run(kernels.of<T>().maxima, type); });
  }
  if (tracked(x) && is_floating(x.dtype()))
    record("max_pool", y, {&x},
           [index = Saved(index), w, planes, n, shape = x.shape()](Tensor const& g, Node const& node) {
             return std::array{
                 spread_maxima(g.reshape({planes, n}), index.get(node).reshape({planes, n}), w).reshape(shape)};
           });
  return {y, index};
}

std::pair<Tensor, Tensor> sliding_max(char const* op, int axes, Tensor const& x, Spatial const& kernel,
                                      MaxPoolOptions const& o) {
  check_spatial(op, x, axes, true, false);
  return max_pool(op, x, sliding(op, x, axes, kernel, {o.stride, o.padding, o.dilation, o.ceil_mode}));
}

std::pair<Tensor, Tensor> adaptive_max(char const* op, int axes, Tensor const& x, Spatial const& out) {
  check_spatial(op, x, axes, true, false);
  if (!is_floating(x.dtype())) detail::unsupported_dtype(op, x.dtype(), "f32 or f64");
  return max_pool(op, x, adaptive(op, x, axes, out));
}

/// Sums over the windows of each axis.
Tensor window_sums(Tensor const& x, std::vector<Windows> const& windows) {
  Tensor y = x;
  for (size_t a = windows.size(); a-- > 0;) {
    int const axis = int(a) - int(windows.size());
    auto map = std::make_shared<AxisMap>();
    map->in = x.size(axis);
    for (int64_t i = 0; i < windows[a].count; ++i) {
      for (int64_t t = windows[a].first(i), end = windows[a].last(i); t < end; ++t) map->add(t, 1);
      map->end_output();
    }
    y = map_axis(y, axis, map);
  }
  return y;
}

/// How many elements each window holds (or covers, with padding): the spatial shape of the result.
Tensor window_counts(std::vector<Windows> const& windows, bool with_padding, Tensor const& like) {
  Tensor all;
  for (size_t a = 0; a < windows.size(); ++a) {
    Windows const& w = windows[a];
    std::vector<int64_t> counts;
    for (int64_t i = 0; i < w.count; ++i) counts.push_back(with_padding ? w.covers(i) : w.last(i) - w.first(i));
    Shape shape = Dims::filled(int(windows.size()), 1);
    shape[int(a)] = w.count;
    Tensor const one = tensor(counts, shape).to(like.dtype()).to(like.device());
    all = a ? all * one : one;
  }
  return all;
}

Tensor mean_of_windows(char const* op, Tensor const& x, std::vector<Windows> const& windows, bool with_padding,
                       int64_t divisor) {
  if (is_half(x.dtype())) return mean_of_windows(op, x.to(Dtype::f32), windows, with_padding, divisor).to(x.dtype());
  if (x.dtype() != Dtype::i64 && !is_floating(x.dtype()))
    detail::unsupported_dtype(op, x.dtype(), "a floating type or i64");
  Tensor const sums = window_sums(x, windows);
  Tensor const counts =
      divisor ? full({1}, double(divisor), x.dtype(), x.device()) : window_counts(windows, with_padding, x);
  return x.dtype() == Dtype::i64 ? div(sums, counts, Rounding::trunc) : sums / counts;
}

Tensor sliding_mean(char const* op, int axes, Tensor const& x, Spatial const& kernel, AvgPoolOptions const& o) {
  check_spatial(op, x, axes, true, false);
  return mean_of_windows(op, x, sliding(op, x, axes, kernel, {o.stride, o.padding, 1, o.ceil_mode}),
                         o.count_include_pad, o.divisor_override);
}

Tensor adaptive_mean(char const* op, int axes, Tensor const& x, Spatial const& out) {
  check_spatial(op, x, axes, true, true);
  if (!is_floating(x.dtype())) detail::unsupported_dtype(op, x.dtype(), "f32 or f64");
  return mean_of_windows(op, x, adaptive(op, x, axes, out), false, 0);
}

Tensor lp_pool(char const* op, int axes, Tensor const& x, double p, Spatial const& kernel, LpPoolOptions const& o) {
  check_defined(op, x);
  if (is_half(x.dtype())) return lp_pool(op, axes, x.to(Dtype::f32), p, kernel, o).to(x.dtype());
  check(p != 0, op, [] { return Complaint{"there is no 0-norm", "pass p ≠ 0"}; });
  Tensor const mean = sliding_mean(op, axes, pow(x, p), kernel, {.stride = o.stride, .ceil_mode = o.ceil_mode});
  int64_t taps = 1;
  for (int64_t k : per_axis(op, "kernel", kernel, axes, 1)) taps *= k;
  return pow(where(mean == 0.0, 0.0, mean) * double(taps), 1 / p);  // the root has no slope at 0
}

Tensor max_unpool(char const* op, int axes, Tensor const& x, Tensor const& indices, Spatial const& kernels,
                  MaxUnpoolOptions const& o) {
  check_spatial(op, x, axes, true, true);
  check_defined(op, indices);
  if (is_half(x.dtype())) return max_unpool(op, axes, x.to(Dtype::f32), indices, kernels, o).to(x.dtype());
  check(indices.dtype() == Dtype::i64 && indices.shape() == x.shape(), op, [&] {
    return Complaint{fmt::format("expected indices of i64 and shape {}, got {} and {}", to_string(x.shape()),
                                 name(indices.dtype()), to_string(indices.shape())),
                     "pass what max_pool…_with_indices returned beside x"};
  });
  Dims const kernel = per_axis(op, "kernel", kernels, axes, 1);
  Dims const stride = o.stride.rank() ? per_axis(op, "stride", o.stride, axes, 1) : kernel;
  Dims const padding = per_axis(op, "padding", o.padding, axes, 0);
  int const lead = x.rank() - axes;
  Shape shape = x.shape();
  for (int a = 0; a < axes; ++a) shape[lead + a] = (x.shape()[lead + a] - 1) * stride[a] - 2 * padding[a] + kernel[a];
  if (o.output_size.rank()) {
    Dims const size = per_axis(op, "output size", o.output_size, axes, 1);
    for (int a = 0; a < axes; ++a) {
      int64_t const usual = shape[lead + a];
      check(std::abs(size[a] - usual) < stride[a], op, [&] {
        return Complaint{fmt::format("output_size {} of axis {} is a stride or more from {}", size[a], a, usual),
                         "pass the size that was pooled"};
      });
      shape[lead + a] = size[a];
    }
  }
  int64_t const planes = product(shape, 0, lead), size = product(shape, lead, x.rank());
  int64_t const n = product(x.shape(), lead, x.rank());
  Tensor const here = indices.to(cpu).contiguous();  // on other devices too nothing must be written elsewhere
  int64_t const* const at = here.data<int64_t>();
  for (int64_t i = 0; i < planes * n; ++i)
    check(at[i] >= 0 && at[i] < size, op, [&] {
      return Complaint{fmt::format("index {} is outside a result of shape {}", at[i], to_string(shape)),
                       fmt::format("use 0 to {}", size - 1)};
    });
  common_device(op, {&x, &indices});
  return place_planes(x.reshape({planes, 1, n}), indices.reshape({planes, n}), size).reshape(shape);
}

}  // namespace

Tensor max_pool1d(Tensor const& x, Spatial const& kernel, MaxPoolOptions const& options) {
  return sliding_max("max_pool1d", 1, x, kernel, options).first;
}
Tensor max_pool2d(Tensor const& x, Spatial const& kernel, MaxPoolOptions const& options) {
  return sliding_max("max_pool2d", 2, x, kernel, options).first;
}
Tensor max_pool3d(Tensor const& x, Spatial const& kernel, MaxPoolOptions const& options) {
  return sliding_max("max_pool3d", 3, x, kernel, options).first;
}
std::pair<Tensor, Tensor> max_pool1d_with_indices(Tensor const& x, Spatial const& kernel,
                                                  MaxPoolOptions const& options) {
  return sliding_max("max_pool1d", 1, x, kernel, options);
}
std::pair<Tensor, Tensor> max_pool2d_with_indices(Tensor const& x, Spatial const& kernel,
                                                  MaxPoolOptions const& options) {
  return sliding_max("max_pool2d", 2, x, kernel, options);
}
std::pair<Tensor, Tensor> max_pool3d_with_indices(Tensor const& x, Spatial const& kernel,
                                                  MaxPoolOptions const& options) {
  return sliding_max("max_pool3d", 3, x, kernel, options);
}
Tensor avg_pool1d(Tensor const& x, Spatial const& kernel, AvgPoolOptions const& options) {
  return sliding_mean("avg_pool1d", 1, x, kernel, options);
}
Tensor avg_pool2d(Tensor const& x, Spatial const& kernel, AvgPoolOptions const& options) {
  return sliding_mean("avg_pool2d", 2, x, kernel, options);
}
Tensor avg_pool3d(Tensor const& x, Spatial const& kernel, AvgPoolOptions const& options) {
  return sliding_mean("avg_pool3d", 3, x, kernel, options);
}
Tensor adaptive_avg_pool1d(Tensor const& x, Spatial const& out) {
  return adaptive_mean("adaptive_avg_pool1d", 1, x, out);
}
Tensor adaptive_avg_pool2d(Tensor const& x, Spatial const& out) {
  return adaptive_mean("adaptive_avg_pool2d", 2, x, out);
}
Tensor adaptive_avg_pool3d(Tensor const& x, Spatial const& out) {
  return adaptive_mean("adaptive_avg_pool3d", 3, x, out);
}
Tensor adaptive_max_pool1d(Tensor const& x, Spatial const& out) {
  return adaptive_max("adaptive_max_pool1d", 1, x, out).first;
}
Tensor adaptive_max_pool2d(Tensor const& x, Spatial const& out) {
  return adaptive_max("adaptive_max_pool2d", 2, x, out).first;
}
Tensor adaptive_max_pool3d(Tensor const& x, Spatial const& out) {
  return adaptive_max("adaptive_max_pool3d", 3, x, out).first;
}
std::pair<Tensor, Tensor> adaptive_max_pool1d_with_indices(Tensor const& x, Spatial const& out) {
  return adaptive_max("adaptive_max_pool1d", 1, x, out);
}
std::pair<Tensor, Tensor> adaptive_max_pool2d_with_indices(Tensor const& x, Spatial const& out) {
  return adaptive_max("adaptive_max_pool2d", 2, x, out);
}
std::pair<Tensor, Tensor> adaptive_max_pool3d_with_indices(Tensor const& x, Spatial const& out) {
  return adaptive_max("adaptive_max_pool3d", 3, x, out);
}
Tensor lp_pool1d(Tensor const& x, double p, Spatial const& kernel, LpPoolOptions const& options) {
  return lp_pool("lp_pool1d", 1, x, p, kernel, options);
}
Tensor lp_pool2d(Tensor const& x, double p, Spatial const& kernel, LpPoolOptions const& options) {
  return lp_pool("lp_pool2d", 2, x, p, kernel, options);
}
Tensor lp_pool3d(Tensor const& x, double p, Spatial const& kernel, LpPoolOptions const& options) {
  return lp_pool("lp_pool3d", 3, x, p, kernel, options);
}
Tensor max_unpool1d(Tensor const& x, Tensor const& indices, Spatial const& kernel, MaxUnpoolOptions const& options) {
  return max_unpool("max_unpool1d", 1, x, indices, kernel, options);
}
Tensor max_unpool2d(Tensor const& x, Tensor const& indices, Spatial const& kernel, MaxUnpoolOptions const& options) {
  return max_unpool("max_unpool2d", 2, x, indices, kernel, options);
}
Tensor max_unpool3d(Tensor const& x, Tensor const& indices, Spatial const& kernel, MaxUnpoolOptions const& options) {
  return max_unpool("max_unpool3d", 3, x, indices, kernel, options);
}

}  // namespace heed
