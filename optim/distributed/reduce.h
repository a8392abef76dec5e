// The arithmetic of reductions over ranks.
#pragma once

#include <heed/engine/dtype.h>
#include <heed/optim/distributed/communicator.h>

namespace heed::distributed {

/// to[i] = parts[0][i] + parts[1][i] + … in this order (or mean, max, min) for `count` parts of `n` elements; `to` may
/// be one of them.
void reduce_in_order(Dtype dtype, Reduce reduction, void* to, void const* const* parts, int count, int64_t n);

}  // namespace heed::distributed
