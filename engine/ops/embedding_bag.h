// An accelerator's kernels of bags: runs of places in an index.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// Bag b has places starts[b] … starts[b + 1] - 1 of index [n], the last of `count` those up to end; what is padding is
/// in none.
struct BagRuns {
  int64_t const *index, *starts;
  int64_t const* end;  // null: n
  int64_t n, count, padding;
};

template <class T>
struct BagKernelsOf {
  /// winner[b, j]: where the largest of table[index[places of b], j] is, in row-major order; the first of equals, NaN
  /// wins, -1 in an empty bag.
  void (*largest)(BagRuns const&, T const* table, int64_t rows, int64_t columns, int64_t* winner);
};

struct BagKernels : PerType<BagKernelsOf> {
  /// bag[k]: which bag has place k; `count` for those in none.
  void (*bags)(BagRuns const&, int64_t* bag);
};

inline char const* kernels_name(BagKernels const*) { return "bag_kernels"; }

}  // namespace heed
