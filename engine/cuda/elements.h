// Kernels that take each element once, in any order.
#pragma once

#include <heed/engine/cuda/launch.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

constexpr unsigned element_threads = 256;
constexpr int elements_each = 4;  // of a thread: enough loads in flight to hide the memory's latency

inline rt::Dim blocks_for(int64_t n) {
  constexpr int64_t block = element_threads * elements_each;
  return in_a_row((n + block - 1) / block);
}

/// f(i) for this thread's elements, neighbours in neighbouring threads.
template <class F>
__device__ inline void for_each_element(int64_t n, F const& f) {
  int64_t const first = int64_t(blockIdx.x) * element_threads * elements_each + threadIdx.x;
#pragma unroll
  for (int k = 0; k < elements_each; ++k)
    if (int64_t const i = first + k * int64_t(element_threads); i < n) f(i);
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
