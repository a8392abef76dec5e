// Kernels of the linear maps that pooling, interpolation and sampling are made of, and of positions in a grid.
#pragma once

#include <heed/engine/device.h>
#include <heed/engine/isa.h>

#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

namespace heed {

/// A sparse matrix: output i of an axis is Σ weight[t]·input[from[t]] over first[i] ≤ t < first[i + 1].
struct AxisMap {
  int64_t in = 0;
  std::vector<int64_t> first{0}, from;
  std::vector<double> weight;

  int64_t out() const { return int64_t(first.size()) - 1; }
  void add(int64_t index, double w) {
    from.push_back(index);
    weight.push_back(w);
  }
  void end_output() { first.push_back(int64_t(from.size())); }
};

/// x [batch, channels, size] and y [batch, channels, n], joined by index [batch, n], negative where nothing is read.
struct Planes {
  int64_t batch, channels, size, n;
};

struct Located {
  double at, slope;
};

/// One spatial axis as a grid reads it.
struct GridAxis {
  int64_t size;
  bool align_corners, reflects, clips;

  /// Where coordinate x of [−1, 1] lies among the elements.
  constexpr Located locate(double x) const {
    double const n = double(size);
    return align_corners ? Located{(x + 1) * (n - 1) / 2, (n - 1) / 2} : Located{((x + 1) * n - 1) / 2, n / 2};
  }
  constexpr Located bounded(Located u) const {
    if (reflects) u = reflected(u);
    if (!clips) return u;
    if (!(u.at > 0)) return {0, 0};
    return u.at >= double(size - 1) ? Located{double(size - 1), 0} : u;
  }
  /// Mirrored at the centres of the outermost elements, or at their edges, as often as it takes.
  constexpr Located reflected(Located u) const {
    double const low = align_corners ? 0 : -0.5, span = align_corners ? double(size - 1) : double(size);
    if (span == 0) return {0, 0};
    double const from = u.at - low, distance = std::abs(from), extra = std::fmod(distance, span);
    bool const odd = std::fmod(std::floor(distance / span), 2) != 0;
    return {low + (odd ? span - extra : extra), (from < 0) == odd ? u.slope : -u.slope};
  }
};

/// One of the elements around points in x: along each axis, outermost first, `shift` from their cells.
template <class T>
struct GridTap {
  int axes;
  GridAxis axis[3];
  T const* cell[3];
  int64_t shift[3];

  /// The place that point i reads in its plane, −1 outside.
  constexpr int64_t place(int64_t i) const {
    int64_t to = 0;
    for (int a = 0; a < 3; ++a) {
      if (a == axes) break;
      double const at = axis[a].bounded({double(cell[a][i]) + double(shift[a]), 0}).at;
      if (!(at >= 0 && at < double(axis[a].size))) return -1;
      to = to * axis[a].size + int64_t(at);
    }
    return to;
  }
};

/// A weight with `bits` bits behind the point.
inline int64_t fixed_point(double weight, int bits) {
  return int64_t(std::floor(weight * double(int64_t{1} << bits) + 0.5));
}

template <class T>
struct SpatialKernelsOf {
  /// x [outer, map.in, inner] → y [outer, map.out(), inner]
  void (*apply)(AxisMap const& map, T const* x, T* y, int64_t outer, int64_t inner);
  /// y[b, c, p] = x[b, c, index[b, p]], or 0
  void (*gather)(Planes const&, T const* x, int64_t const* index, T* y);
  /// The adjoint: x[b, c, s] = Σ of y[b, c, p] over p with index[b, p] = s, in order of p.
  void (*scatter)(Planes const&, T const* y, int64_t const* index, T* x);
  /// x[b, c, s] = y[b, c, p] of the last such p, 0 where there is none.
  void (*place)(Planes const&, T const* y, int64_t const* index, T* x);
  /// Positions of the coordinates x, and their slopes.
  void (*locate)(GridAxis const&, int64_t n, T const* x, T* at, T* slope);
  void (*tap)(GridTap<T> const&, int64_t n, int64_t* index);
};

struct SpatialKernels : PerType<SpatialKernelsOf> {
  void (*apply_i64)(AxisMap const& map, int64_t const* x, int64_t* y, int64_t outer, int64_t inner);
  /// u8 in fixed point: Σ weight·x, weights with `bits` bits behind the point, rounded and clipped.
  void (*apply_u8)(AxisMap const& map, int bits, uint8_t const* x, uint8_t* y, int64_t outer, int64_t inner);
};
inline char const* kernels_name(SpatialKernels const*) { return "spatial_kernels"; }

/// Those for tensors on `device`.
SpatialKernels const& spatial_kernels(Device device, std::string_view op);

}  // namespace heed
