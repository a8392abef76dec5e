// Windows of pooling, and the kernels of its maxima: of the processor away from the borders, where every window has the
// same taps; of an accelerator everywhere.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// Along one axis of `in` elements, window i < count holds elements first(i), first(i) + step, … < last(i). Sliding
/// ones begin `stride` apart and reach over `reach` elements, `pad` outside at either end; adaptive ones (stride 0)
/// share the axis evenly.
struct Windows {
  int64_t in = 1, count = 1, stride = 1, reach = 1, step = 1, pad = 0;

  constexpr int64_t first(int64_t i) const {
    if (stride == 0) return i * in / count;
    int64_t const start = i * stride - pad;
    return start < 0 ? start + (-start + step - 1) / step * step : start;
  }
  constexpr int64_t last(int64_t i) const {
    if (stride == 0) return ((i + 1) * in + count - 1) / count;
    int64_t const end = i * stride - pad + reach;
    return end < in ? end : in;
  }
  /// Places where padding counts.
  constexpr int64_t covers(int64_t i) const {
    if (stride == 0) return last(i) - first(i);
    int64_t const start = i * stride - pad, end = start + reach;
    return (end < in + pad ? end : in + pad) - start;
  }
  /// Windows that reach over element e: low(e) ≤ i < high(e).
  constexpr int64_t low(int64_t e) const {
    if (stride == 0) return e * count / in;
    int64_t const room = e + pad - reach;
    return room < 0 ? 0 : room / stride + 1;
  }
  constexpr int64_t high(int64_t e) const {
    int64_t const end = stride == 0 ? ((e + 1) * count + in - 1) / in : (e + pad) / stride + 1;
    return end < count ? end : count;
  }
};

/// For `rows` rows of `n` windows: window (r, i) reads x[first + r·x_row + i·stride + tap[t]] for t < taps, and
/// y[r·y_row + i] is the first of its largest elements, or its last NaN; index[r·y_row + i] says where in x.
template <class T>
struct MaximaArgs {
  T const* x;
  int64_t first, x_row, stride;
  int64_t const* tap;
  int64_t taps, rows, n;
  T* y;
  int64_t* index;
  int64_t y_row;
};

template <class T>
struct PoolKernelsOf {
  void (*maxima)(MaximaArgs<T> const&);
};

struct PoolKernels : PerType<PoolKernelsOf> {};

/// Of `planes` planes; windows along three axes.
template <class T>
struct DevicePoolTable {
  /// The first of the largest elements of each window, or its last NaN, and where it is in its plane. A window whose
  /// every tap falls into the padding (dilation can step over all of x) gives the lowest value and −1.
  void (*maxima)(Windows const (&w)[3], int64_t planes, T const* x, T* y, int64_t* index);
  /// The adjoint for a given index: dx = Σ of g over the windows whose maximum it was, in their order.
  void (*spread)(Windows const (&w)[3], int64_t planes, T const* g, int64_t const* index, T* dx);
};
struct DevicePoolKernels : PerType<DevicePoolTable> {
  void (*maxima_i64)(Windows const (&w)[3], int64_t planes, int64_t const* x, int64_t* y, int64_t* index);
};
inline char const* kernels_name(DevicePoolKernels const*) { return "pool_kernels"; }

}  // namespace heed

HEED_KERNELS(PoolKernels, pool_kernels)
