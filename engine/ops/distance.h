// An accelerator's kernels of distances between points.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

template <class T>
struct DistanceKernelsOf {
  /// y[m, i, j] = ‖a[m, i] − b[m, j]‖₂: a [batch, rows, n], b [batch, columns, n].
  void (*euclidean)(T const* a, T const* b, T* y, int64_t batch, int64_t rows, int64_t columns, int64_t n);
};

struct DistanceKernels : PerType<DistanceKernelsOf> {};

inline char const* kernels_name(DistanceKernels const*) { return "distance_kernels"; }

}  // namespace heed
