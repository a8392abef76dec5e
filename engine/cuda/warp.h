// What a warp's 32 lanes do together. Every call is made by all of them: masks are full. Blocks are a multiple of 32
// threads wide in x, so that a warp lies within one row of threads.
#pragma once

#include <heed/engine/cuda/kernel.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace warp {

constexpr int size = 32;
constexpr unsigned all = 0xffffffffu;

__device__ inline int lane() { return int(threadIdx.x % size); }

/// combine over each group of `width` neighbouring lanes (a power of two), the same in all of them: lanes exchange at
/// distances width/2, …, 2, 1, so that the order of combining depends on nothing but the width.
template <int width = size, class T, class Combine>
__device__ inline T reduce(T value, Combine const& combine) {
  static_assert(width > 0 && width <= size && (width & (width - 1)) == 0);
  for (int distance = width / 2; distance > 0; distance /= 2)
    value = combine(value, __shfl_xor_sync(all, value, distance));
  return value;
}

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

/// The larger; a NaN wins over every number.
struct Larger {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b > a || b != b ? b : a;
  }
};

template <int width = size, class T>
__device__ inline T sum(T value) {
  return reduce<width>(value, Add{});
}

template <int width = size, class T>
__device__ inline T max(T value) {
  return reduce<width>(value, Larger{});
}

/// combine over this lane and those before it in its warp (Hillis, Steele 1986).
template <class T, class Combine>
__device__ inline T inclusive_scan(T value, Combine const& combine) {
  for (int distance = 1; distance < size; distance *= 2) {
    T const before = __shfl_up_sync(all, value, unsigned(distance));
    if (lane() >= distance) value = combine(before, value);
  }
  return value;
}

}  // namespace warp
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
