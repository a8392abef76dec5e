// What biases by distance share.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// The distances i − j of a call, −(S − 1) … S − 1, as they index the table [H, 2S − 1] of relative_bias().
inline Tensor distances(HeadOperands const& o) {
  int64_t const keys = o.key_count();
  return arange(1 - keys, keys, 1, is_half(o.q.dtype()) ? Dtype::f32 : o.q.dtype(), o.q.device());
}

/// What depends on distances has no meaning towards a memory.
inline Traits of_distance() { return {.cross = false, .equivariant = false}; }

}  // namespace heed::nn
