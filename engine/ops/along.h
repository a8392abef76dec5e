// One axis of a tensor: what scans, sorts and order statistics share.
#pragma once

#include <heed/engine/ops/widen.h>

#include <cstdint>

namespace heed {

/// x read as [outer, n, inner] with n along `axis`; a tensor of rank 0 has one axis of size 1, as in PyTorch.
struct Along {
  Tensor x;  // contiguous, unknown to the tape
  int axis = 0;
  int64_t outer = 1, n = 1, inner = 1;
};
Along along(char const* op, Tensor const& x, int axis);

/// y[o, k, i] = x[o, index[o, k, i], i] along `axis`: index is i64 and, on the other axes, no larger than x. An Error
/// where an index lies outside the axis. picked() is unknown to the tape; pick() wants all other sizes to agree, and is
/// faster to differentiate on an accelerator where it knows the indices of a line to be distinct.
Tensor picked(char const* op, Tensor const& x, int axis, Tensor const& index);
Tensor pick(char const* op, Tensor const& x, int axis, Tensor const& index, bool distinct = false);
/// An Error unless low ≤ index < size for all n of them.
void check_inside(char const* op, int64_t const* index, int64_t n, int64_t low, int64_t size, int axis);

/// Which axes are named; an Error unless each is named once.
struct Named {
  bool axis[Dims::max_rank] = {};
};
Named named(char const* op, Tensor const& x, Dims const& axes);
/// f(Type<T>{}) for every type that is computed in: all but f16 and bf16, which are converted first.
template <class F>
decltype(auto) dispatch_computed(char const* op, Dtype d, F&& f) {
  if (is_floating(d)) return dispatch_floating(op, d, f);
  return dispatch_integer(op, d, f);
}
/// x, or its elements as f32 where they are stored in 16 bits: what is compared and searched; unknown to the tape.
inline Tensor computed(Tensor const& x) { return is_half(x.dtype()) ? x.detach().to(Dtype::f32) : x.detach(); }
/// The axes of x in order.
Dims all_axes(Tensor const& x);
/// The number of elements that reducing `axes` joins.
int64_t count_along(char const* op, Tensor const& x, Dims const& axes);
/// x with `axes` moved to the end, in order, and joined to one; differentiable.
Tensor join_axes(char const* op, Tensor const& x, Dims const& axes);
/// The shape of x without `axes`, or with size 1 in their places.
Shape reduced_shape(char const* op, Tensor const& x, Dims const& axes, bool keep = false);

/// h_t = a_t·h_{t−1} + b_t along `axis`, from 0 before the first; in reverse h_t = a_t·h_{t+1} + b_t, from 0 behind the
/// last. Its gradient is such a recurrence in the other direction.
Tensor recurrence(Tensor const& a, Tensor const& b, int axis, bool reverse = false);

/// Σ x² over `axes`, by a kernel of its own.
Tensor sum_squares(Tensor const& x, Dims const& axes, bool keep = false);

/// An Error where `axis` of x holds nothing while results are wanted.
void check_not_empty(char const* op, Tensor const& x, bool empty);

}  // namespace heed
