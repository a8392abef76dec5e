// The kernels of wrappers.cu: what each computes stands there.
#pragma once

#include <heed/engine/cuda/kernel.h>

#include <cstdint>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace wrappers {

__global__ void mma_bf16(float* c, uint32_t const* a, uint32_t const* b);
__global__ void mma_f16(float* c, uint32_t const* a, uint32_t const* b);
__global__ void mma_tf32(float* c, uint32_t const* a, uint32_t const* b);
__global__ void mma_places(int* places);

__global__ void ldmatrix_x1(uint32_t* to, uint16_t const* rows, int const* at);
__global__ void ldmatrix_x2(uint32_t* to, uint16_t const* rows, int const* at);
__global__ void ldmatrix_x4(uint32_t* to, uint16_t const* rows, int const* at);
__global__ void ldmatrix_x1_trans(uint32_t* to, uint16_t const* rows, int const* at);
__global__ void ldmatrix_x2_trans(uint32_t* to, uint16_t const* rows, int const* at);
__global__ void ldmatrix_x4_trans(uint32_t* to, uint16_t const* rows, int const* at);

__global__ void pack_bf16(uint32_t* to, float const* from, int pairs);
__global__ void pack_f16(uint32_t* to, float const* from, int pairs);
__global__ void round_tf32(uint32_t* to, float const* from, int count);

__global__ void warp_sum(float* to, float const* from);
__global__ void warp_sum_of_4(float* to, float const* from);
__global__ void warp_max(float* to, float const* from);
__global__ void warp_scan(int* to, int const* from);

__global__ void pipeline_2(float* to, float const* from, int tiles, int bytes);
__global__ void pipeline_3(float* to, float const* from, int tiles, int bytes);

__global__ void log_sum_exp(float* to, float const* from, int n);
__global__ void sgemm(float* c, float const* a, float const* b, int m, int n, int k);
__global__ void hgemm(float* c, uint16_t const* a, uint16_t const* b, int n, int k);

}  // namespace wrappers
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
