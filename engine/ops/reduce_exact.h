// Reductions over the middle axis that come out the same in any order: of integers, and of what counts as true.
#pragma once

#include <heed/engine/dtype.h>
#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// x: [outer, n, inner] contiguous, y: [outer, inner].
struct ExactReductions {
  using Reduce = void (*)(void const* x, void* y, int64_t outer, int64_t n, int64_t inner);
  Reduce sum, prod;   ///< of integers and bools, to i64: they wrap
  Reduce max, min;    ///< of integers and bools, to the same type
  Reduce any, all;    ///< to bool; NaN counts as true
  Reduce count_true;  ///< to i64
};

struct ExactReduceKernels {
  ExactReductions of[10];  // by Dtype
};

}  // namespace heed

HEED_KERNELS(ExactReduceKernels, exact_reduce_kernels)
