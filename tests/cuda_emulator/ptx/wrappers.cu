// One small kernel a device wrapper, and a few kernels built from them. Those of single instructions know nothing of
// fragment layouts: registers come and go as they are, lane by lane, so that the test alone says what they hold.
#include <heed/engine/cuda/cp_async.h>
#include <heed/engine/cuda/mma.h>
#include <heed/engine/cuda/warp.h>

#include "wrappers.h"

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace wrappers {

// ---- matrix instructions: c[lane][4] += a[lane][4] · b[lane][2]

template <class Multiply>
__device__ inline void multiply_registers(float* c, uint32_t const* a, uint32_t const* b, Multiply const& multiply) {
  int const lane = warp::lane();
  float sums[4];
  uint32_t left[4], right[2];
  for (int i = 0; i < 4; ++i) sums[i] = c[4 * lane + i], left[i] = a[4 * lane + i];
  for (int i = 0; i < 2; ++i) right[i] = b[2 * lane + i];
  multiply(sums, left, right);
  for (int i = 0; i < 4; ++i) c[4 * lane + i] = sums[i];
}

struct Bf16 {
  __device__ void operator()(float (&c)[4], uint32_t const (&a)[4], uint32_t const (&b)[2]) const {
    mma::m16n8k16<bfloat16>(c, a, b);
  }
};
struct F16 {
  __device__ void operator()(float (&c)[4], uint32_t const (&a)[4], uint32_t const (&b)[2]) const {
    mma::m16n8k16<float16>(c, a, b);
  }
};
struct Tf32 {
  __device__ void operator()(float (&c)[4], uint32_t const (&a)[4], uint32_t const (&b)[2]) const {
    mma::m16n8k8_tf32(c, a, b);
  }
};

__global__ void mma_bf16(float* c, uint32_t const* a, uint32_t const* b) { multiply_registers(c, a, b, Bf16{}); }
__global__ void mma_f16(float* c, uint32_t const* a, uint32_t const* b) { multiply_registers(c, a, b, F16{}); }
__global__ void mma_tf32(float* c, uint32_t const* a, uint32_t const* b) { multiply_registers(c, a, b, Tf32{}); }

/// places[i] = the row and column of C[i].
__global__ void mma_places(int* places) {
  int const lane = warp::lane();
  for (int i = 0; i < 4; ++i) {
    places[8 * lane + 2 * i] = mma::row(i);
    places[8 * lane + 2 * i + 1] = mma::column(i);
  }
}

// ---- ldmatrix: 32 rows of 8 elements go to shared memory, at[lane] is the row that a lane gives the address of

template <int count, bool trans>
__device__ inline void load_registers(uint32_t* to, uint16_t const* rows, int const* at) {
  HEED_SHARED(uint4, tile, 32);
  int const lane = warp::lane();
  tile[lane] = reinterpret_cast<uint4 const*>(rows)[lane];
  __syncthreads();
  uint32_t registers[count];
  if constexpr (trans)
    mma::ldmatrix_trans(registers, &tile[at[lane]]);
  else
    mma::ldmatrix(registers, &tile[at[lane]]);
  for (int i = 0; i < count; ++i) to[count * lane + i] = registers[i];
}

__global__ void ldmatrix_x1(uint32_t* to, uint16_t const* rows, int const* at) {
  load_registers<1, false>(to, rows, at);
}
__global__ void ldmatrix_x2(uint32_t* to, uint16_t const* rows, int const* at) {
  load_registers<2, false>(to, rows, at);
}
__global__ void ldmatrix_x4(uint32_t* to, uint16_t const* rows, int const* at) {
  load_registers<4, false>(to, rows, at);
}
__global__ void ldmatrix_x1_trans(uint32_t* to, uint16_t const* rows, int const* at) {
  load_registers<1, true>(to, rows, at);
}
__global__ void ldmatrix_x2_trans(uint32_t* to, uint16_t const* rows, int const* at) {
  load_registers<2, true>(to, rows, at);
}
__global__ void ldmatrix_x4_trans(uint32_t* to, uint16_t const* rows, int const* at) {
  load_registers<4, true>(to, rows, at);
}

// ---- conversions

__global__ void pack_bf16(uint32_t* to, float const* from, int pairs) {
  int const i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < pairs) to[i] = mma::pack<bfloat16>(from[2 * i], from[2 * i + 1]);
}
__global__ void pack_f16(uint32_t* to, float const* from, int pairs) {
  int const i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < pairs) to[i] = mma::pack<float16>(from[2 * i], from[2 * i + 1]);
}
__global__ void round_tf32(uint32_t* to, float const* from, int count) {
  int const i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) to[i] = mma::tf32(from[i]);
}

// ---- warp operations

__global__ void warp_sum(float* to, float const* from) { to[threadIdx.x] = warp::sum(from[threadIdx.x]); }
__global__ void warp_sum_of_4(float* to, float const* from) { to[threadIdx.x] = warp::sum<4>(from[threadIdx.x]); }
__global__ void warp_max(float* to, float const* from) { to[threadIdx.x] = warp::max(from[threadIdx.x]); }
__global__ void warp_scan(int* to, int const* from) {
  to[threadIdx.x] = warp::inclusive_scan(from[threadIdx.x], warp::Add{});
}

// ---- cp.async

/// Tiles of 16 bytes a thread go through `stages` buffers; each thread sums, over the tiles, the first number of its
/// neighbour's bytes. Of a tile's bytes only those before `bytes` are read, the rest counts as 0.
template <int stages>
__device__ inline void pipeline(float* to, float const* from, int tiles, int bytes) {
  HEED_SHARED(float4, buffer, stages * 64);
  int const me = int(threadIdx.x), neighbour = (me + 1) % 64;
  auto fetch = [&](int tile) {
    float const* const source = from + 4 * (64 * tile + me);
    int const left = bytes - 16 * (64 * tile + me);
    void* const place = &buffer[64 * (tile % stages) + me];
    if (left >= 16)
      cp_async::copy(place, source);
    else
      cp_async::copy_or_zero(place, left > 0 ? source : from, left > 0 ? left : 0);
  };
  for (int tile = 0; tile < stages - 1; ++tile) {
    if (tile < tiles) fetch(tile);
    cp_async::commit();
  }
  float sum = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    cp_async::wait_group<stages - 2>();
    __syncthreads();
    if (tile + stages - 1 < tiles) fetch(tile + stages - 1);
    cp_async::commit();
    float4 const seen = buffer[64 * (tile % stages) + neighbour];
    sum += seen.x + 2 * seen.y + 3 * seen.z + 4 * seen.w;
  }
  to[me] = sum;
}

__global__ void pipeline_2(float* to, float const* from, int tiles, int bytes) { pipeline<2>(to, from, tiles, bytes); }
__global__ void pipeline_3(float* to, float const* from, int tiles, int bytes) { pipeline<3>(to, from, tiles, bytes); }

// ---- whole kernels

/// to[block] = softmax's log of the sum of exponents of a row of n.
__global__ void log_sum_exp(float* to, float const* from, int n) {
  HEED_SHARED(float, parts, 32);
  float const* const row = from + size_t(blockIdx.x) * n;
  int const me = int(threadIdx.x), warps = int(blockDim.x) / warp::size;
  auto whole = [&](float value, auto const& combine, float none) {
    value = warp::reduce(value, combine);
    __syncthreads();
    if (warp::lane() == 0) parts[me / warp::size] = value;
    __syncthreads();
    value = warp::lane() < warps ? parts[warp::lane()] : none;
    return warp::reduce(value, combine);
  };
  float most = -INFINITY;
  for (int i = me; i < n; i += int(blockDim.x)) most = warp::Larger{}(most, row[i]);
  most = whole(most, warp::Larger{}, -INFINITY);
  float sum = 0;
  for (int i = me; i < n; i += int(blockDim.x)) sum += expf(row[i] - most);
  sum = whole(sum, warp::Add{}, 0.0f);
  if (me == 0) to[blockIdx.x] = most + logf(sum);
}

/// C (m×n) = A (m×k) · B (k×n), by rows, in tiles of 16×16.
__global__ void sgemm(float* c, float const* a, float const* b, int m, int n, int k) {
  HEED_SHARED(float, left, 16 * 17);
  HEED_SHARED(float, right, 16 * 16);
  int const x = int(threadIdx.x) % 16, y = int(threadIdx.x) / 16;
  int const row = int(blockIdx.y) * 16 + y, column = int(blockIdx.x) * 16 + x;
  float sum = 0;
  for (int from = 0; from < k; from += 16) {
    left[17 * y + x] = row < m && from + x < k ? a[size_t(row) * k + from + x] : 0;
    right[16 * y + x] = from + y < k && column < n ? b[size_t(from + y) * n + column] : 0;
    __syncthreads();
    for (int i = 0; i < 16; ++i) sum += left[17 * y + i] * right[16 * i + x];
    __syncthreads();
  }
  if (row < m && column < n) c[size_t(row) * n + column] = sum;
}

/// C (m×n, f32) = A (m×k) · B (k×n), bf16, by rows; m a multiple of 32, n of 16, k of 16. A block of two warps makes
/// 32×16, each warp 16×16, k in steps of 16 through three stages.
__global__ void hgemm(float* c, uint16_t const* a, uint16_t const* b, int n, int k) {
  constexpr int stages = 3, stride = 24;  // elements a row of shared memory: 48 bytes, so that 8 rows meet all banks
  HEED_DYNAMIC_SHARED(uint16_t, shared);
  uint16_t* const left = shared;
  uint16_t* const right = shared + stages * 32 * stride;
  int const me = int(threadIdx.x), lane = warp::lane(), own = me / warp::size;
  int const top = int(blockIdx.y) * 32, side = int(blockIdx.x) * 16;
  int const steps = k / 16;
  auto fetch = [&](int step) {
    int const stage = step % stages, r = me / 2, half = me % 2 * 8;
    cp_async::copy(left + (stage * 32 + r) * stride + half, a + size_t(top + r) * k + step * 16 + half);
    if (r < 16) cp_async::copy(right + (stage * 16 + r) * stride + half, b + size_t(step * 16 + r) * n + side + half);
  };
  for (int step = 0; step < stages - 1; ++step) {
    if (step < steps) fetch(step);
    cp_async::commit();
  }
  float sums[2][4] = {};
  for (int step = 0; step < steps; ++step) {
    cp_async::wait_group<stages - 2>();
    __syncthreads();
    if (step + stages - 1 < steps) fetch(step + stages - 1);
    cp_async::commit();
    int const stage = step % stages;
    uint32_t fragment[4], columns[4];
    mma::ldmatrix(fragment, left + (stage * 32 + own * 16 + lane % 16) * stride + lane / 16 * 8);
    mma::ldmatrix_trans(columns, right + (stage * 16 + lane % 16) * stride + lane / 16 * 8);
    for (int j = 0; j < 2; ++j) {
      uint32_t const pair[2] = {columns[2 * j], columns[2 * j + 1]};
      mma::m16n8k16<bfloat16>(sums[j], fragment, pair);
    }
  }
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 4; ++i)
      c[size_t(top + own * 16 + mma::row(i)) * n + side + 8 * j + mma::column(i)] = sums[j][i];
}

}  // namespace wrappers
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
