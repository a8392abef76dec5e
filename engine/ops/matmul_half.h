// Matrix products on a GPU's matrix units (matmul.h: MatrixUnitKernels).
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/ops/matmul.h>

#include <cstdint>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// 16-bit operands, sums in f32. Product i reads A + i·a_step and B + i·b_step and writes C + i·c_step; a c_step of
/// zero sums the products, in order. The fast way is where each operand has an axis of stride 1 and its other stride
/// and its address are multiples of 16 bytes. Tiles are 128 × 128 or 64 × 64 elements; 0: by shape. Operands that are
/// not aligned: 64.
template <class E>
void gemm_half(GemmArgs<E> const& first, int64_t batch, int64_t a_step, int64_t b_step, int64_t c_step, int tile = 0);

/// f32 operands, rounded to tf32 (10 bits of fraction) as they are multiplied.
void gemm_tf32(GemmArgs<float> const& g);
void gemm_tf32_batched(GemmArgs<float> const& first, int64_t batch, int64_t a_step, int64_t b_step, int64_t c_step);

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
