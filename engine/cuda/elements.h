// Kernels that take each element once, in any order.
#pragma once

#include <heed/engine/cuda/launch.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

constexpr unsigned element_threads = 256;
constexpr int elements_each = 4;  // of a thread: enough loads in flight to hide the memory's latency

inline rt::Dim blocks_for(int64_t n) { return in_a_row(ceil_div(n, element_threads * elements_each)); }

/// f(i) for this thread's elements, neighbours in neighbouring threads.
template <class F>
__device__ inline void for_each_element(int64_t n, F const& f) {
  int64_t const first = int64_t(blockIdx.x) * element_threads * elements_each + threadIdx.x;
#pragma unroll
  for (int k = 0; k < elements_each; ++k)
    if (int64_t const i = first + k * int64_t(element_threads); i < n) f(i);
}

/// Where a thread has enough to do with one: this_element() of a grid of blocks_of_one(n), which may be n and more.
inline rt::Dim blocks_of_one(int64_t n) { return in_a_row(ceil_div(n, element_threads)); }
__device__ inline int64_t this_element() { return int64_t(blockIdx.x) * element_threads + threadIdx.x; }

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
