// Sorting on the device, stable, for kernels' host functions (ops/sort.cu holds the kernels).
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/ops/sort.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// order[l, r] = the place in line l of its r-th element for r < keep, `lines` read as [outer, n, inner] and order as
/// [outer, keep, inner]. n < 2^32. `name` is what launches are called in errors.
void sort_lines(char const* name, Lines const& lines, bool descending, int64_t keep, int64_t* order);

/// order[r] = the place in `places` [n] of its r-th, all of them in [0, limit). Others end up anywhere.
void sort_places(char const* name, int64_t const* places, int64_t n, int64_t limit, int64_t* order);

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
