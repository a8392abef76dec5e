// Kernels of pointwise operations on an accelerator: one launch for a whole broadcast.
#pragma once

#include <heed/engine/ops/pointwise.h>

namespace heed {

/// The axes of a broadcast, outermost first, joined where all operands step evenly. Strides are in elements, 0 repeats;
/// results are contiguous.
struct Broadcast {
  static constexpr int most_axes = 8, most_operands = 3;
  int rank = 0;
  int64_t numel = 0;
  int64_t shape[most_axes] = {}, stride[most_operands][most_axes] = {};
};

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
  /// Of a broadcast of mask, a and b. T's bits are moved, never read as numbers.
  void (*where)(Broadcast const&, uint8_t const* mask, T const* a, T const* b, T* y);
};

struct DevicePointwiseKernels : PerType<DevicePointwiseTable> {};

inline char const* kernels_name(DevicePointwiseKernels const*) { return "pointwise_kernels"; }

}  // namespace heed
