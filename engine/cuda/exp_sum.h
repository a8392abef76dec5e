// Σ_j exp(x_j) in one pass over memory, kept as sum·exp(max), or as the sum alone while max is infinite.
#pragma once

#include <heed/engine/cuda/rows.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

template <class T>
struct alignas(2 * sizeof(T)) ExpSum {  // moved by one access
  T max, sum;
};

/// The shift for a maximum: 0 where it is infinite, because inf - inf would be NaN.
template <class T>
__device__ inline T shift_of(T max) {
  return max == infinity<T> || max == -infinity<T> ? T(0) : max;
}

template <class T>
__device__ inline ExpSum<T> shuffle_xor(ExpSum<T> const& e, int d) {
  return {shuffle_xor(e.max, d), shuffle_xor(e.sum, d)};
}

/// log Σ_j exp(x_j - max); NaN where max is infinite, as in a softmax.
template <class T>
__device__ inline T shifted_log_sum(ExpSum<T> const& e) {
  return std::log(e.sum) + (e.max - e.max);
}

/// The fold; what derives from it says where x lies and what is done with the result.
template <class T>
struct ExpSums {
  using Acc = ExpSum<T>;
  static constexpr int pack = pack_size<T>;
  __device__ Acc identity() const { return {-infinity<T>, 0}; }
  /// Elements beyond the run are -inf, which add 0.
  __device__ void add_pack(Acc& acc, Pack<T> const& p) const {
    T const top = AnyMax()(acc.max, fold_pack(AnyMax(), p)), shift = shift_of(top);
    acc = {top, acc.sum * std::exp(acc.max - shift) +
                    fold_pack(Plus(), map_pack([=](T v) { return std::exp(v - shift); }, p))};
  }
  __device__ Acc join(Acc const& a, Acc const& b) const {
    T const top = AnyMax()(a.max, b.max), shift = shift_of(top);
    return {top, a.sum * std::exp(a.max - shift) + b.sum * std::exp(b.max - shift)};
  }
};

/// Of rows, row r at x + r·stride; results are taken by fold_axis's `to`.
template <class T>
struct RowExpSums : ExpSums<T> {
  T const* x;
  int64_t stride;
  __device__ void add(ExpSum<T>& acc, Run const& run) const {
    this->add_pack(acc, load(x + run.o * stride + run.k, 1, run.count, -infinity<T>));
  }
  __device__ void finish(ExpSum<T> const&, int64_t) const {}
};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
