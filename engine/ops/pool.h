// The kernel of max pooling away from the borders, where every window has the same taps.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

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

}  // namespace heed

HEED_KERNELS(PoolKernels, pool_kernels)
