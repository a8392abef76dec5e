// Kernels that fill and mask with counter-based random numbers. Word i of a draw is defined by engine/random.h.
#pragma once

#include <heed/engine/isa.h>
#include <heed/engine/random.h>

#include <cstdint>

namespace heed {

/// Words, uniforms and dropout's choices have the same bits on every level; normals agree to rounding.
template <class T>
struct RandomKernelsOf {
  /// y_i in [0, 1). float: (word_i >> 8)·2^-24. double: ((word_2i >> 5)·2^26 + (word_2i+1 >> 6))·2^-53.
  void (*uniform)(T* y, int64_t n, Draw draw);
  /// Box-Muller (1958): with uniforms u_2k and u_2k+1 as above, r = sqrt(-2·log(1 - u_2k)):
  /// y_2k = r·cos(2π·u_2k+1), y_2k+1 = r·sin(2π·u_2k+1).
  void (*normal)(T* y, int64_t n, Draw draw);
  /// y_i = word_i >= p·2^32 ? x_i/(1-p) : 0. Backward is the same call on the gradient. y may be x.
  void (*dropout)(T const* x, T* y, int64_t n, double p, Draw draw);
};

struct RandomKernels : PerType<RandomKernelsOf> {
  /// y_i = word i
  void (*words)(uint32_t* y, int64_t n, Draw draw);
  /// y_i = low + the high 64 bits of (words 2i and 2i+1)·span: uniform up to span·2⁻⁶⁴.
  void (*integers)(int64_t* y, int64_t n, int64_t low, uint64_t span, Draw draw);
};

}  // namespace heed

HEED_KERNELS(RandomKernels, random_kernels)
