// Copies from global to shared memory that go on while the thread computes (sm_80 and later, past L1). A thread's
// copies since its last commit form a group; groups finish in order. What a thread copied is its own to read after
// wait_group, and the block's after a barrier that follows.
#pragma once

#include <heed/engine/cuda/kernel.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace cp_async {

/// 16 bytes, both ends aligned to 16.
__device__ inline void copy(void* shared, void const* global) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
               :
               : "r"(unsigned(__cvta_generic_to_shared(shared))), "l"(__cvta_generic_to_global(global))
               : "memory");
#else
  emu::async_copy(shared, global, 16, 16);
#endif
}

/// 16 bytes: the first `bytes` (0 to 16) copied, zeros after them. Beyond `bytes` nothing is read; the address must be
/// one of the tensor's all the same, and aligned.
__device__ inline void copy_or_zero(void* shared, void const* global, int bytes) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(unsigned(__cvta_generic_to_shared(shared))), "l"(__cvta_generic_to_global(global)), "r"(bytes)
               : "memory");
#else
  emu::async_copy(shared, global, 16, size_t(bytes));
#endif
}

__device__ inline void commit() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" : : : "memory");
#else
  emu::async_commit();
#endif
}

/// Waits until at most `pending` of this thread's groups, the newest, are unfinished.
template <int pending>
__device__ inline void wait_group() {
  static_assert(pending >= 0);
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" : : "n"(pending) : "memory");
#else
  emu::async_wait(pending);
#endif
}

}  // namespace cp_async
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
