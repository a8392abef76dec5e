// Small compositions that matrix operations share.
#pragma once

#include <heed/engine/ops.h>

namespace heed {

/// An Error unless x is [.., N, N].
void check_square(char const* op, Tensor const& x);
/// An Error unless x is [.., M, N] of a floating type.
void check_matrix(char const* op, Tensor const& x);
/// The leading axes of [.., M, N].
Shape lead_of(Tensor const& x);
/// What the leading axes of two tensors of matrices broadcast to.
Shape broadcast_lead(char const* op, Tensor const& a, Tensor const& b);
/// [lead.., rows, columns]
Shape with_matrix(Shape lead, int64_t rows, int64_t columns);
/// The last two axes of x cut from the top left corner.
Tensor corner(Tensor const& x, int64_t rows, int64_t columns);
/// inv, but infinite where x is singular.
Tensor inverse_or_infinity(Tensor const& x);

}  // namespace heed
