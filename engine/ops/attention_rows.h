// Attention weights by blocks of queries: what mixes heads or queries holds so many rows of them at a time.
#pragma once

#include <heed/engine/ops.h>

namespace heed {

/// Rows [from, to) of attention_weights(q, k, options): [B, H, to − from, S]. Differentiable to any order.
Tensor attention_rows(Tensor const& q, Tensor const& k, int64_t from, int64_t to, AttendOptions const& options = {});

}  // namespace heed
