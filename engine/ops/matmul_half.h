// Matrix products on a GPU's matrix units: of 16-bit operands, and, where it is asked for, of f32 ones rounded to tf32.
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/half.h>

#include <cstdint>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// Whether this thread's products of f32 on a device round their operands to tf32 (10 bits of fraction). Off at first.
inline bool& tf32_products() {
  static thread_local bool on = false;
  return on;
}

/// C[m, n] = (C[m, n] if accumulate) + A[m, k]·B[k, n] + bias[n]; sums in f32. E is float16 or bfloat16, Out E or
/// float. Any strides, in elements; the fast way is where each operand has an axis of stride 1 and its other stride and
/// its address are multiples of 16 bytes. Columns of C are contiguous.
template <class E, class Out>
struct HalfGemmArgs {
  int64_t m, n, k;
  E const* a;
  int64_t a_row, a_col;
  E const* b;
  int64_t b_row, b_col;
  Out* c;
  int64_t c_row;
  E const* bias = nullptr;
  bool accumulate = false;
};

template <class E, class Out>
void gemm_half(HalfGemmArgs<E, Out> const& g);
/// Product i reads A + i·a_step and B + i·b_step and writes C + i·c_step. A c_step of zero sums the products, in order.
/// Tiles are 128 × 128 or 64 × 64 elements; 0: by shape. Operands that are not aligned: 64.
template <class E, class Out>
void gemm_half_batched(HalfGemmArgs<E, Out> const& first, int64_t batch, int64_t a_step, int64_t b_step, int64_t c_step,
                       int tile = 0);

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
