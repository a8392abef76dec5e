// Elements by their place: what every indexing operation is made of.
#pragma once

#include <heed/engine/ops.h>

#include <functional>
#include <vector>

namespace heed::detail {

/// Blocks of elements: block i is starts[i], starts[i] + 1, … in memory. Blocks are the same or share no element.
struct Places {
  Tensor starts;  // i64 [n], from the address of a tensor's element [0, …, 0]
  int64_t block = 1;
};

/// An index tensor's part in a place: steps[a] of it along axis a of the space, each index worth `factor` elements;
/// negative indices count from `size`.
struct Table {
  Tensor index;  // i64
  Strides steps;
  int64_t factor, size;
};

/// For every position of `space`, in row-major order: base + Σ position·step + Σ index·factor.
Tensor starts_of(Shape const& space, Strides const& steps, int64_t base, std::vector<Table> const& tables);

/// Places in a tensor, given its strides.
using Where = std::function<Places(Strides const&)>;

/// A tensor of `shape` whose elements are x's at the places, in order.
Tensor pick(char const* op, Tensor const& x, Shape const& shape, Where const& where);
/// The adjoint of pick: zeros of `shape` with g's elements added at the places of a contiguous tensor.
Tensor spread(char const* op, Tensor const& g, Shape const& shape, Places const& places);

}  // namespace heed::detail
