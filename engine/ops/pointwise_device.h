// Kernels of pointwise operations on an accelerator: one launch for a whole broadcast.
#pragma once

#include <heed/engine/ops/pointwise.h>
#include <heed/engine/ops/strided_walk.h>

namespace heed {

using Broadcast = StridedWalk<3>;

/// As PointwiseTable, whose rows' order it has.
template <class T>
struct DevicePointwiseTable {
  struct Unary {
    void (*forward)(void const* row, T const* x, T* y, int64_t n);
    void (*backward)(void const* row, T const* g, T const* x, T const* y, T* dx, int64_t n);
  };
  struct Binary {
    void (*forward)(void const* row, Broadcast const&, T const* a, T const* b, T* y);
    /// Of a broadcast of a and b to g's shape; da and db may be null.
    void (*backward)(void const* row, Broadcast const&, T const* g, T const* a, T const* b, T const* y, T* da, T* db);
  };
  struct Compare {
    void (*forward)(Broadcast const&, T const* a, T const* b, uint8_t* y);
  };
  Unary unary[UnaryRows::size];
  Binary binary[BinaryRows::size];
  Compare compare[CompareRows::size];
};

struct DevicePointwiseKernels : PerType<DevicePointwiseTable> {
  /// Of a broadcast of mask, a and b, elements of 1, 2, 4 or 8 bytes.
  void (*where)(Broadcast const&, uint8_t const* mask, void const* a, void const* b, void* y, int element_size);
};

inline char const* kernels_name(DevicePointwiseKernels const*) { return "pointwise_kernels"; }

}  // namespace heed
