// What every kernel file (*.cu) includes: CUDA's names under nvcc, and under g++ the emulator's reading of them, so
// that one source runs on a GPU and in the tests on a CPU. Kernels use the base subset alone: full-mask warp
// operations, no textures, no dynamic parallelism, no state of their own on the device, no waiting for other blocks.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define HEED_DEVICE_LEVEL cuda_level
#include <cuda_runtime.h>
#define HEED_NOINLINE __noinline__
/// T name[count], one a block.
#define HEED_SHARED(T, name, count) __shared__ T name[count]
/// T* name: the shared memory whose bytes the launch gave, aligned to 128.
#define HEED_DYNAMIC_SHARED(T, name)                                    \
  extern __shared__ __align__(128) unsigned char heed_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(heed_dynamic_shared)
#else
#define HEED_DEVICE_LEVEL emu
#include <emulator.h>
#define HEED_NOINLINE [[gnu::noinline]]
#endif

namespace heed {
inline namespace HEED_DEVICE_LEVEL {}
}  // namespace heed
