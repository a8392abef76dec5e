// A broadcast as an accelerator's threads walk it: a plain struct, the argument of a kernel.
#pragma once

#include <cstdint>

namespace heed {

/// Axes outermost first, joined where all operands step evenly. Strides are in elements, 0 repeats; results are
/// contiguous.
template <int operands>
struct StridedWalk {
  static constexpr int most_axes = 8;
  int rank = 0;
  int64_t numel = 0;
  int64_t shape[most_axes] = {}, stride[operands][most_axes] = {};

  /// Where element i lies in operand k.
  constexpr int64_t offset(int64_t i, int k) const {
    int64_t at = 0;
    for (int axis = rank - 1; axis >= 0; --axis) {
      int64_t const next = i / shape[axis];
      at += (i - next * shape[axis]) * stride[k][axis];
      i = next;
    }
    return at;
  }
  /// The same in the first n operands.
  template <int n>
  constexpr void offsets(int64_t i, int64_t (&at)[n]) const {
    for (int k = 0; k < n; ++k) at[k] = 0;
    for (int axis = rank - 1; axis >= 0; --axis) {
      int64_t const next = i / shape[axis], index = i - next * shape[axis];
      for (int k = 0; k < n; ++k) at[k] += index * stride[k][axis];
      i = next;
    }
  }
};

}  // namespace heed
