// Kernels of an accelerator that look values up. The processor's loops stand in search.cpp.
#pragma once

#include <heed/engine/dtype.h>

#include <cstdint>

namespace heed {

/// Types are those that are computed in (no 16-bit floats).
struct DeviceSearchKernels {
  /// to[i] = the first place in its line whose element is not below values[i], or is above it for `right`; n for NaN.
  /// Value i belongs to line i / each of lines [·, n], which ascend, read through `sorter` (i64, checked) unless null.
  void (*search)(Dtype dtype, void const* lines, int64_t const* sorter, int64_t n, int64_t each, void const* values,
                 int64_t count, bool right, int64_t* to);
  /// to[i] = whether values[i] is one of known [n], which ascend; with `invert` whether it is none.
  void (*is_in)(Dtype dtype, void const* known, int64_t n, void const* values, int64_t count, bool invert, bool* to);
  /// counts[b] = how many of bins [n] are b, for b < length; all are.
  void (*count)(int64_t const* bins, int64_t n, int64_t length, int64_t* counts);
};

inline char const* kernels_name(DeviceSearchKernels const*) { return "search_kernels"; }

}  // namespace heed
