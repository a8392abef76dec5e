// Kernels of reductions over the middle axis.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// x: [outer, n, inner] contiguous, y and index: [outer, inner]. Sums combine fixed blocks in a fixed order.
template <class T>
struct ReduceKernelsOf {
  using Reduce = void (*)(T const* x, T* y, int64_t outer, int64_t n, int64_t inner);
  using Find = void (*)(T const* x, int64_t* index, int64_t outer, int64_t n, int64_t inner);
  Reduce sum, prod;     ///< 0 and 1 for n = 0
  Reduce max, min;      ///< NaN where an element is NaN; n >= 1
  Reduce sum_squares;   ///< Σ x²
  Reduce logsumexp;     ///< max x + log Σ exp(x - max x); -inf for n = 0 and for rows of -inf, +inf where one is
  Find argmax, argmin;  ///< the first of equals; the first NaN where there is one; n >= 1
};

struct ReduceKernels : PerType<ReduceKernelsOf> {};

}  // namespace heed

HEED_KERNELS(ReduceKernels, reduce_kernels)
