// Rotary position embedding.
#pragma once

#include <heed/engine/tensor.h>

namespace heed::nn {

/// Rotates pairs of features of x [B, H, T, D] by angles (offset + t)·base^(−2i/D), i = 0 … D/2−1, so that q·k depends
/// on the difference of positions alone. Half-split layout: feature i is paired with i + D/2. Angles are computed in
/// f64. Su et al., "RoFormer: Enhanced transformer with rotary position embedding" (2021).
Tensor rope(Tensor const& x, int64_t offset = 0, double base = 10000);

}  // namespace heed::nn
