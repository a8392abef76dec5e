// Kernels of an accelerator for the order of elements. The processor's work on one line at a time (sort.cpp).
#pragma once

#include <heed/engine/dtype.h>

#include <cstdint>

namespace heed {

/// x [outer, n, inner] contiguous, of a type that is computed in (no 16-bit floats); lines lie along n.
struct Lines {
  void const* x;
  Dtype dtype;
  int64_t outer, n, inner;
};

/// Numbers ascend, −0 equals 0, NaN is above all; equals keep their places. Places are counted along n.
struct DeviceSortKernels {
  /// order [outer, keep, inner]: the places of the first `keep` elements, of all in descending order if asked for.
  void (*sort)(Lines const& lines, bool descending, int64_t keep, int64_t* order);
  /// at [outer, inner]: where the median of each line is, the lower one of two: the first NaN if there is one and
  /// they are not skipped. order: by sort, ascending, all kept.
  void (*median)(Lines const& lines, int64_t const* order, bool skip_nan, int64_t* at);
  /// at [outer, inner]: the last place of the most frequent element, the smallest of those; NaN equals nothing.
  void (*mode)(Lines const& lines, int64_t const* order, int64_t* at);
  /// head[r]: whether element order[r] of the only line (r itself where order is null) is the first of all, or not the
  /// equal of the one before; NaN equals nothing.
  void (*heads)(Lines const& lines, int64_t const* order, bool* head);
};

inline char const* kernels_name(DeviceSortKernels const*) { return "sort_kernels"; }

}  // namespace heed
