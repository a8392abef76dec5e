// Resampling on regular grids (a sparse matrix along each axis) and at arbitrary points (weighted reads).
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/spatial.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

namespace heed {
namespace {

// ---- interpolate ----

/// Keys' cubic kernel at distance |t| (1981).
template <class R>
R cubic(R t, R a) {
  t = std::abs(t);
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : R(0);
}

/// One axis of the resampling. R is the type PyTorch computes positions in: floors of them decide which elements are
/// read, so the same roundings are wanted.
struct AxisPlan {
  int64_t in, out;
  double scale_factor;  // 0: follows from the sizes
  Interpolation mode;
  bool align_corners, antialias;
};

template <class R>
R step_of(AxisPlan const& p) {
  if (p.align_corners) return p.out > 1 ? R(p.in - 1) / R(p.out - 1) : R(0);
  return p.scale_factor > 0 ? R(1 / p.scale_factor) : R(p.in) / R(p.out);
}

template <class R>
std::shared_ptr<AxisMap const> antialiased_map(AxisPlan const& p) {
  auto map = std::make_shared<AxisMap>();
  map->in = p.in;
  bool const is_cubic = p.mode == Interpolation::bicubic;
  R const step = step_of<R>(p), shrink = std::max(step, R(1)), support = (is_cubic ? R(2) : R(1)) * shrink;
  for (int64_t i = 0; i < p.out; ++i) {
    R const centre = step * (R(i) + R(0.5));
    int64_t const first = std::max(int64_t(centre - support + R(0.5)), int64_t{0});
    int64_t const last = std::min(int64_t(centre + support + R(0.5)), p.in);
    R total = 0;
    std::vector<R> weights;
    for (int64_t j = first; j < last; ++j) {
      R const t = (R(j) - centre + R(0.5)) / shrink;
      weights.push_back(is_cubic ? cubic(t, R(-0.5)) : std::max(R(0), 1 - std::abs(t)));
      total += weights.back();
    }
    for (int64_t j = first; j < last; ++j)
      map->add(j, double(total != 0 ? weights[size_t(j - first)] / total : weights[size_t(j - first)]));
    map->end_output();
  }
  return map;
}

template <class R>
std::shared_ptr<AxisMap const> axis_map(AxisPlan const& p) {
  if (p.antialias) return antialiased_map<R>(p);
  auto map = std::make_shared<AxisMap>();
  map->in = p.in;
  R const step = step_of<R>(p);
  for (int64_t i = 0; i < p.out; ++i) {
    R const centred = p.align_corners ? step * R(i) : step * (R(i) + R(0.5)) - R(0.5);
    auto clamped = [&](int64_t j) { return std::clamp(j, int64_t{0}, p.in - 1); };
    if (p.mode == Interpolation::nearest) {
      map->add(clamped(int64_t(std::floor(R(i) * step))), 1);
    } else if (p.mode == Interpolation::nearest_exact) {
      map->add(clamped(int64_t(std::floor((R(i) + R(0.5)) * step))), 1);
    } else if (p.mode == Interpolation::linear) {
      R const at = std::max(centred, R(0));
      int64_t const low = clamped(int64_t(at));
      R const t = std::clamp(at - R(low), R(0), R(1));
      map->add(low, double(1 - t));
      map->add(clamped(low + 1), double(t));
    } else {
      R const low = std::floor(centred), t = centred - low;
      for (int64_t k = -1; k < 3; ++k) map->add(clamped(int64_t(low) + k), double(cubic(t - R(k), R(-0.75))));
    }
    map->end_output();
  }
  return map;
}

/// `map` with the weights of an element that an output reads twice, at the border, summed.
AxisMap merged(AxisMap const& map) {
  AxisMap m;
  m.in = map.in;
  for (size_t i = 0; i + 1 < map.first.size(); ++i) {
    for (auto k = size_t(map.first[i]); k < size_t(map.first[i + 1]); ++k) {
      if (int64_t(m.from.size()) > m.first.back() && m.from.back() == map.from[k])
        m.weight.back() += map.weight[k];
      else
        m.add(map.from[k], map.weight[k]);
    }
    m.end_output();
  }
  return m;
}

/// u8 along one axis in fixed point, rounded to u8: as Pillow and PyTorch do.
Tensor map_bytes(Tensor const& x, int axis, AxisMap const& all) {
  AxisMap const map = merged(all);
  double largest = 0;
  for (double w : map.weight) largest = std::max(largest, w);
  int bits = 0;
  while (bits < 22 && int64_t(0.5 + largest * double(int64_t{1} << (bits + 1))) < 1 << 15) ++bits;
  Tensor const from = x.contiguous();
  Shape shape = x.shape();
  int64_t outer = 1, inner = 1;
  for (int a = 0; a < axis; ++a) outer *= shape[a];
  for (int a = axis + 1; a < x.rank(); ++a) inner *= shape[a];
  shape[axis] = map.out();
  Tensor y(shape, Dtype::u8, x.device());
  spatial_kernels(x.device(), "interpolate")
      .apply_u8(map, bits, from.address<uint8_t>(), y.address<uint8_t>(), outer, inner);
  return y;
}

/// The spatial sizes of the result.
Dims sizes_of(Tensor const& x, int axes, InterpolateOptions const& o) {
  check((o.size.rank() > 0) != !o.scale_factor.empty(), "interpolate", [] {
    return Complaint{"expected either size or scale_factor", "set one of them"};
  });
  if (o.size.rank()) return per_axis("interpolate", "size", o.size, axes, 1);
  size_t const n = o.scale_factor.size();
  check(n == 1 || n == size_t(axes), "interpolate", [&] {
    return Complaint{fmt::format("expected one scale_factor or {}, got {}", axes, n),
                     "give a number for all spatial axes, or one for each"};
  });
  Dims sizes;
  for (int a = 0; a < axes; ++a) {
    double const size = std::floor(double(x.size(a - axes)) * o.scale_factor[n == 1 ? 0 : size_t(a)]);
    check(size >= 1 && size < 0x1p31, "interpolate", [&] {
      return Complaint{
          fmt::format("scale_factor {} makes {} of axis {} of x {}", o.scale_factor[n == 1 ? 0 : size_t(a)], size,
                      x.rank() - axes + a, to_string(x.shape())),
          "use a factor that leaves one element or more"};
    });
    sizes.push_back(int64_t(size));
  }
  return sizes;
}

void check_mode(Tensor const& x, int axes, InterpolateOptions const& o) {
  bool const smooth = o.mode == Interpolation::linear || o.mode == Interpolation::bicubic;
  check(smooth || (!o.align_corners && !o.antialias), "interpolate", [] {
    return Complaint{"align_corners and antialias are for linear and bicubic", "leave them off, or change the mode"};
  });
  check(axes == 2 || (o.mode != Interpolation::bicubic && !o.antialias), "interpolate", [&] {
    return Complaint{fmt::format("bicubic and antialias need two spatial axes, got x {}", to_string(x.shape())),
                     "use linear without antialias"};
  });
}

}  // namespace

Tensor interpolate(Tensor const& x, InterpolateOptions const& o) {
  check_defined("interpolate", x);
  if (is_half(x.dtype())) return interpolate(x.to(Dtype::f32), o).to(x.dtype());
  int const axes = std::clamp(x.rank() - 2, 1, 3);
  check_spatial("interpolate", x, axes, false, false);
  check_mode(x, axes, o);
  bool const bytes = x.dtype() == Dtype::u8 && o.mode != Interpolation::area;
  if (!bytes && !is_floating(x.dtype())) detail::unsupported_dtype("interpolate", x.dtype(), "f32, f64 or u8");
  Dims const sizes = sizes_of(x, axes, o);
  if (o.mode == Interpolation::area)
    return axes == 1   ? adaptive_avg_pool1d(x, sizes)
           : axes == 2 ? adaptive_avg_pool2d(x, sizes)
                       : adaptive_avg_pool3d(x, sizes);
  bool const nearest = o.mode == Interpolation::nearest || o.mode == Interpolation::nearest_exact;
  if (bytes && nearest) return interpolate(x.to(Dtype::f32), o).to(Dtype::u8);  // moved, not computed with
  Tensor y = x;
  for (int a = axes - 1; a >= 0; --a) {
    int const axis = a + 2;
    double const scale = o.scale_factor.empty() || o.recompute_scale_factor
                             ? 0
                             : o.scale_factor[o.scale_factor.size() == 1 ? 0 : size_t(a)];
    AxisPlan const p{x.size(axis), sizes[a], scale, o.mode, o.align_corners, o.antialias};
    if (p.in == p.out && (o.mode == Interpolation::linear || bytes)) continue;
    bool const wide = bytes || (x.dtype() == Dtype::f64 && !nearest);
    auto const map = wide ? axis_map<double>(p) : axis_map<float>(p);
    y = bytes ? map_bytes(y, axis, *map) : map_axis(y, axis, map);
  }
  return y;
}

// ---- grid_sample ----

namespace {

/// Bicubic reads are bounded one by one, others as a whole.
GridAxis axis_of(int64_t size, GridSampleOptions const& o, bool bounds) {
  return {size, o.align_corners, bounds && o.padding == GridPadding::reflection,
          bounds && o.padding != GridPadding::zeros};
}

/// The positions of one coordinate of the grid: [B, P].
Tensor positions(Tensor const& coordinate, int64_t size, GridSampleOptions const& o) {
  Tensor const from = coordinate.detach().contiguous();
  Tensor y(from.shape(), from.dtype(), from.device()), slope(from.shape(), from.dtype(), from.device());
  Observed const watch("grid_sample", {&from}, {&y, &slope});
  dispatch_floating("grid_sample", from.dtype(), [&]<class T>(Type<T>) {
    spatial_kernels(from.device(), "grid_sample")
        .of<T>()
        .locate(axis_of(size, o, o.mode != Interpolation::bicubic), from.numel(), from.address<T>(), y.address<T>(),
                slope.address<T>());
  });
  if (tracked(coordinate))
    record("grid_sample", y, {&coordinate}, [slope](Tensor const& g, Node const&) { return std::array{g * slope}; });
  return y;
}

/// For each axis of x (outermost first) the element that a tap reads, −1 outside, joined to an index into a plane.
Tensor index_of(std::vector<Tensor> const& cells, std::vector<int64_t> const& shift, std::vector<int64_t> const& sizes,
                GridSampleOptions const& o) {
  Tensor index(cells[0].shape(), Dtype::i64, cells[0].device());
  dispatch_floating("grid_sample", cells[0].dtype(), [&]<class T>(Type<T>) {
    GridTap<T> tap{};
    tap.axes = int(cells.size());
    for (size_t a = 0; a < cells.size(); ++a) {
      tap.axis[a] = axis_of(sizes[a], o, o.mode == Interpolation::bicubic);
      tap.cell[a] = cells[a].address<T>();
      tap.shift[a] = shift[a];
    }
    spatial_kernels(index.device(), "grid_sample").of<T>().tap(tap, index.numel(), index.address<int64_t>());
  });
  return index;
}

/// Keys' weights of the four elements around t in [0, 1), a = −0.75.
std::vector<Tensor> cubic_weights(Tensor const& t) {
  constexpr double a = -0.75;
  auto near = [](Tensor const& d) { return ((a + 2) * d - (a + 3)) * d * d + 1.0; };
  auto far = [](Tensor const& d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  return {far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)};
}

void check_grid(Tensor const& x, Tensor const& grid, GridSampleOptions const& o) {
  check_defined("grid_sample", x);
  check_defined("grid_sample", grid);
  check((x.rank() == 4 || x.rank() == 5) && grid.rank() == x.rank() && grid.size(0) == x.size(0) &&
            grid.size(-1) == x.rank() - 2,
        "grid_sample", [&] {
          return Complaint{
              fmt::format("expected x [B, C, H, W] and grid [B, .., .., 2], or x [B, C, D, H, W] and grid [B, .., .., "
                          ".., 3], got {} and {}",
                          to_string(x.shape()), to_string(grid.shape())),
              "make the batches equal, and the grid's last axis one coordinate for each spatial axis"};
        });
  check(x.dtype() == grid.dtype(), "grid_sample", [&] {
    return Complaint{fmt::format("expected one type, got x {} and grid {}", name(x.dtype()), name(grid.dtype())),
                     "convert one with .to()"};
  });
  check_spatial("grid_sample", x, x.rank() - 2, false, true);
  check(o.mode == Interpolation::nearest || o.mode == Interpolation::linear ||
            (o.mode == Interpolation::bicubic && x.rank() == 4),
        "grid_sample", [] {
          return Complaint{"expected mode nearest, linear, or (for two axes) bicubic", "choose one of these"};
        });
}

/// y, known to depend on `grid` with gradient 0.
Tensor flat_in(Tensor y, Tensor const& grid) {
  if (!tracked(grid)) return y;
  Tensor const from = y;
  y = y.detach();
  record("grid_sample", y, {&from, &grid}, [shape = grid.shape()](Tensor const& g, Node const&) {
    return std::array{g, zeros(shape, g.dtype(), g.device())};
  });
  return y;
}

}  // namespace

Tensor grid_sample(Tensor const& x, Tensor const& grid, GridSampleOptions const& o) {
  check_grid(x, grid, o);
  if (is_half(x.dtype())) return grid_sample(x.to(Dtype::f32), grid.to(Dtype::f32), o).to(x.dtype());
  int const axes = x.rank() - 2;
  Shape out{x.size(0), x.size(1)};
  int64_t points = 1, size = 1;
  std::vector<int64_t> sizes;
  for (int a = 0; a < axes; ++a) {
    out.push_back(grid.size(a + 1)), points *= grid.size(a + 1);
    sizes.push_back(x.size(a + 2)), size *= x.size(a + 2);
  }
  Tensor const planes = x.reshape({x.size(0), x.size(1), size});
  // Axis a of x is coordinate axes − 1 − a of the grid.
  std::vector<Tensor> cells;
  std::vector<std::vector<Tensor>> weights;
  for (int a = 0; a < axes; ++a) {
    Tensor const u = positions(grid.select(-1, axes - 1 - a).reshape({x.size(0), points}), sizes[size_t(a)], o);
    cells.push_back((o.mode == Interpolation::nearest ? round(u.detach()) : floor(u.detach())).contiguous());
    if (o.mode == Interpolation::nearest) continue;
    Tensor const t = u - cells.back();
    weights.push_back(o.mode == Interpolation::linear ? std::vector<Tensor>{1.0 - t, t} : cubic_weights(t));
  }
  if (o.mode == Interpolation::nearest)
    return flat_in(gather_planes(planes, index_of(cells, std::vector<int64_t>(size_t(axes)), sizes, o)).reshape(out),
                   grid);
  int64_t const taps = int64_t(weights[0].size()), before = taps / 2 - 1;
  int64_t corners = 1;
  for (int a = 0; a < axes; ++a) corners *= taps;
  Tensor y;
  for (int64_t corner = 0; corner < corners; ++corner) {
    std::vector<int64_t> shift;
    Tensor w;
    int64_t rest = corner;
    for (size_t a = 0; a < size_t(axes); ++a, rest /= taps) {
      shift.push_back(rest % taps - before);
      Tensor const& one = weights[a][size_t(rest % taps)];
      w = w.defined() ? w * one : one;
    }
    Tensor const part = gather_planes(planes, index_of(cells, shift, sizes, o)) * w.unsqueeze(1);
    y = y.defined() ? y + part : part;
  }
  return y.reshape(out);
}

Tensor affine_grid(Tensor const& theta, Shape const& size, bool align_corners) {
  check_defined("affine_grid", theta);
  if (is_half(theta.dtype())) return affine_grid(theta.to(Dtype::f32), size, align_corners).to(theta.dtype());
  int const axes = size.rank() - 2;
  check((axes == 2 || axes == 3) && theta.shape() == Shape{size[0], axes, axes + 1}, "affine_grid", [&] {
    return Complaint{fmt::format("expected theta [B, 2, 3] and size [B, C, H, W], or [B, 3, 4] and [B, C, D, H, W], "
                                 "got {} and {}",
                                 to_string(theta.shape()), to_string(size)),
                     "make the batches and the numbers of axes agree"};
  });
  Shape points{size[0]};
  int64_t n = 1;
  for (int a = 0; a < axes; ++a) {
    check(size[a + 2] > 0, "affine_grid", [&] {
      return Complaint{fmt::format("the size {} is empty", to_string(size)), "use sizes of 1 or more"};
    });
    points.push_back(size[a + 2]);
    n *= size[a + 2];
  }
  points.push_back(axes);
  numel(points);  // an Error where it overflows
  // Homogeneous coordinates (x, y, z, 1) of every point, x innermost.
  std::vector<double> base(size_t(n * (axes + 1)), 1);
  for (int64_t p = 0; p < n; ++p) {
    int64_t rest = p;
    for (int c = 0; c < axes; ++c) {
      int64_t const steps = size[axes + 1 - c], i = rest % steps;
      rest /= steps;
      double const at = steps > 1 ? 2 * double(i) / double(steps - 1) - 1 : 0;
      base[size_t(p * (axes + 1) + c)] = align_corners ? at : at * double(steps - 1) / double(steps);
    }
  }
  return matmul(tensor(base, {n, axes + 1}).to(theta.dtype()).to(theta.device()), theta.t()).reshape(points);
}

}  // namespace heed
