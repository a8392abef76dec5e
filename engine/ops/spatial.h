// What the operations over spatial axes share.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/ops/spatial_kernels.h>

#include <memory>

namespace heed {

/// `values` spread over `axes` axes; an Error naming `op` and `what` unless there are one or `axes` of them, each
/// ≥ `least`.
Dims per_axis(char const* op, char const* what, Spatial const& values, int axes, int64_t least);

/// An Error unless x is [B, C, …] or, where `unbatched`, [C, …] with `axes` spatial axes, none of them empty, and no
/// channels missing unless `no_channels`.
void check_spatial(char const* op, Tensor const& x, int axes, bool unbatched, bool no_channels);

/// x with `map` applied along `axis` (f32, f64, i64); its gradient is the transposed map.
Tensor map_axis(Tensor const& x, int axis, std::shared_ptr<AxisMap const> const& map);

/// y[n, c, p] = x[n, c, index[n, p]], 0 where the index is negative: x [N, C, S], index i64 [N, P].
Tensor gather_planes(Tensor const& x, Tensor const& index);
/// Its adjoint: g [N, C, P] summed into [N, C, size].
Tensor scatter_planes(Tensor const& g, Tensor const& index, int64_t size);
/// The last of those in its place.
Tensor place_planes(Tensor const& x, Tensor const& index, int64_t size);

}  // namespace heed
