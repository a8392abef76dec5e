// What the operations over spatial axes share.
#pragma once

#include <heed/engine/ops.h>

namespace heed {

/// `values` spread over `axes` axes; an Error naming `op` and `what` unless there are one or `axes` of them, each
/// ≥ `least`.
Dims per_axis(char const* op, char const* what, Spatial const& values, int axes, int64_t least);

}  // namespace heed
