// Kernels of an accelerator that scan along one axis. The processor's take a line at a time (cumulative.cpp).
#pragma once

#include <heed/engine/dtype.h>

#include <cstdint>

namespace heed {

/// x and y [outer, n, inner], scanned along n; in reverse from its end.
struct ScanAxis {
  int64_t outer, n, inner;
  bool reverse;
};

struct DeviceCumulativeKernels {
  /// Sums and products of f32 and f64, in f64, or of i64.
  void (*sum)(Dtype dtype, void const* x, void* y, ScanAxis const& axis);
  void (*product)(Dtype dtype, void const* x, void* y, ScanAxis const& axis);
  /// log Σ eˣ, f32 or f64
  void (*logsumexp)(Dtype dtype, void const* x, void* y, ScanAxis const& axis);
  /// h_t = a_t·h_{t−1} + b_t from 0, f32 or f64
  void (*recurrence)(Dtype dtype, void const* a, void const* b, void* h, ScanAxis const& axis);
  /// Where the largest (smallest) so far is: the last of equals, once a NaN came the last NaN. No 16-bit floats.
  void (*extreme)(Dtype dtype, bool largest, void const* x, int64_t* at, ScanAxis const& axis);
};

inline char const* kernels_name(DeviceCumulativeKernels const*) { return "cumulative_kernels"; }

}  // namespace heed
