// Geometry and kernels of convolution. Three spatial axes always: convolutions with fewer have leading axes of size 1.
#pragma once

#include <heed/engine/device.h>
#include <heed/engine/isa.h>

#include <cstdint>
#include <string_view>
#include <utility>

namespace heed {

/// Where the windows of one spatial axis lie: output i reads inputs i·stride + t·dilation − pad, t < kernel, those
/// outside [0, in) being zero. What lies behind the last window is cut off, so that `in` need not follow from `out`.
struct WindowAxis {
  int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad = 0;
};

/// x: [batch, groups·in, axis.in…], weight: [groups·out, in, axis.kernel…], y: [batch, groups·out, axis.out…]
struct ConvShape {
  int64_t batch = 1, groups = 1, in = 1, out = 1;
  WindowAxis axis[3] = {};

  constexpr int64_t x_size() const { return axis[0].in * axis[1].in * axis[2].in; }
  constexpr int64_t y_size() const { return axis[0].out * axis[1].out * axis[2].out; }
  constexpr int64_t taps() const { return axis[0].kernel * axis[1].kernel * axis[2].kernel; }
  constexpr int64_t rows() const { return in * taps(); }
  /// A convolution with stride 1 read backwards: from y (its elements `stride` apart) to x, taps in reverse, channels
  /// exchanged.
  ConvShape reversed() const {
    ConvShape r = *this;
    std::swap(r.in, r.out);
    for (WindowAxis& a : r.axis) {
      a.pad = a.dilation * (a.kernel - 1) - a.pad;
      a.stride = 1;
      std::swap(a.in, a.out);
    }
    return r;
  }
  /// Windows of 3×3 that move by one over single planes.
  bool is_3x3() const {
    WindowAxis const& z = axis[0];
    bool fits = in == 1 && out == 1 && z.in == 1 && z.out == 1 && z.kernel == 1 && z.pad == 0;
    for (int i : {1, 2}) fits = fits && axis[i].kernel == 3 && axis[i].stride == 1 && axis[i].dilation == 1;
    return fits;
  }
};

/// Σ over taps t of weight[t]·from[offset[t] + r·from_row + j] + bias, for `rows` rows of `n` elements.
template <class T>
struct CorrelateArgs {
  T const* from;
  int64_t from_row;
  int64_t const* offset;
  T const* weight;
  int64_t taps;
  T bias;
  T* to;
  int64_t to_row, rows, n;
};

template <class T>
struct ConvKernelsOf {
  void (*correlate)(CorrelateArgs<T> const&);
  /// The adjoint with respect to the weight: weight[t] += Σ over r, j of to[r, j]·from[offset[t] + r·from_row + j].
  void (*correlate_weight)(CorrelateArgs<T> const&, T* weight);
  /// One plane and nine weights of a shape that is_3x3(); null on instruction sets without masked loads.
  void (*correlate_3x3)(ConvShape const&, T const* x, T const* weight, T bias, T* y);
  /// The adjoint with respect to the weight, added to it.
  void (*correlate_3x3_weight)(ConvShape const&, T const* x, T const* g, T* weight);
  /// Elements 0, 2, … and 1, 3, … of `rows` rows of n, from_row and to_row apart.
  void (*split)(T const* from, int64_t from_row, int64_t rows, int64_t n, T* even, T* odd, int64_t to_row);
  /// columns[(c, t), p − begin] = x[c, where tap t of output position p reads], for begin ≤ p < end and `channels`
  /// channels.
  void (*gather)(ConvShape const&, int64_t channels, T const* x, int64_t begin, int64_t end, T* columns);
  /// The adjoint: adds the columns to x.
  void (*scatter)(ConvShape const&, int64_t channels, T const* columns, int64_t begin, int64_t end, T* x);
};

struct ConvKernels : PerType<ConvKernelsOf> {};

/// Whole convolutions of contiguous arrays; bias, one for each channel of the result, may be null.
template <class T>
struct ConvolutionsOf {
  void (*forward)(ConvShape const&, T const* x, T const* w, T const* bias, T* y);
  /// The adjoint in x, plus bias.
  void (*input)(ConvShape const&, T const* g, T const* w, T const* bias, T* x);
  /// The adjoint in w.
  void (*weight)(ConvShape const&, T const* x, T const* g, T* w);
  /// columns[image, (c, t), p] = x[image, c, where tap t of output position p reads]; and the adjoint.
  void (*gather)(ConvShape const&, T const* x, T* columns);
  void (*scatter)(ConvShape const&, T const* columns, T* x);
};
struct Convolutions : PerType<ConvolutionsOf> {
  /// Of integers, which wrap: forward, or `transposed` input.
  void (*integers)(ConvShape const&, bool transposed, int64_t const* from, int64_t const* w, int64_t* to);
  /// Operands rounded to tf32 (AllowTf32), where there are matrix units.
  ConvolutionsOf<float> tf32 = {};
};
inline char const* kernels_name(Convolutions const*) { return "convolutions"; }

/// Those for tensors on `device`.
Convolutions const& convolutions(Device device, std::string_view op);

}  // namespace heed

HEED_KERNELS(ConvKernels, conv_kernels)
