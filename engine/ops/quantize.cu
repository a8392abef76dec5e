// Products with weights of 8 bits on an accelerator. The weights' bytes bound few rows: each is read once for up to
// four rows of x, and what is read of x serves two rows of weights.
#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

constexpr int each = pack_size<float>, outputs = 2;  // weights a thread reads at a time, rows of them a warp has

struct alignas(each) Weights {
  int8_t v[each];
};

/// y[r] of up to `most` rows of x, for n outputs; `aligned`: rows of x and w can be read in packs.
template <int most>
__global__ void __launch_bounds__(block_threads, 1)
    few_rows_kernel(int rows, bool aligned, int64_t n, int64_t k, float const* x, int8_t const* w, float const* scale,
                    float const* bias, float* y) {
  int const lane = int(threadIdx.x) % warp_threads, warp = int(threadIdx.x) / warp_threads;
  int64_t const first = (int64_t(blockIdx.x) * (block_threads / warp_threads) + warp) * outputs;
  float sums[most][outputs] = {};
#pragma unroll 4
  for (int64_t at = lane * each; at < k; at += warp_threads * each) {
    int const count = k - at < each ? int(k - at) : each;
    Weights ws[outputs];
#pragma unroll
    for (int o = 0; o < outputs; ++o) {
      int8_t const* const from = w + (first + o < n ? first + o : n - 1) * k + at;
      if (aligned)
        ws[o] = *reinterpret_cast<Weights const*>(from);
      else
#pragma unroll
        for (int i = 0; i < each; ++i) ws[o].v[i] = i < count ? from[i] : int8_t(0);
    }
#pragma unroll
    for (int r = 0; r < most; ++r) {
      float const* const from = x + (r < rows ? r : 0) * k + at;
      Pack<float> xs;
      if (aligned)
        xs = *reinterpret_cast<Pack<float> const*>(from);
      else
#pragma unroll
        for (int i = 0; i < each; ++i) xs.v[i] = i < count ? from[i] : 0.f;
#pragma unroll
      for (int o = 0; o < outputs; ++o)
#pragma unroll
        for (int i = 0; i < each; ++i) sums[r][o] += xs.v[i] * float(ws[o].v[i]);
    }
  }
#pragma unroll
  for (int r = 0; r < most; ++r)
#pragma unroll
    for (int o = 0; o < outputs; ++o) {
#pragma unroll
      for (int d = warp_threads / 2; d > 0; d /= 2) sums[r][o] += shuffle_xor(sums[r][o], d);
      int64_t const at = first + o;
      if (lane == 0 && r < rows && at < n) y[r * n + at] = sums[r][o] * scale[at] + (bias ? bias[at] : 0.f);
    }
}

void few_rows(int64_t m, int64_t n, int64_t k, float const* x, int8_t const* w, float const* scale, float const* bias,
              float* y) {
  if (n == 0) return;
  constexpr int most = 4, block_outputs = block_threads / warp_threads * outputs;
  bool const aligned = k % each == 0 && is_aligned(x) && is_aligned(w);
  for (int64_t r = 0; r < m; r += most) {
    int const rows = m - r < most ? int(m - r) : most;
    launch(rows == 1 ? few_rows_kernel<1> : few_rows_kernel<most>, "linear_int8",
           in_a_row((n + block_outputs - 1) / block_outputs), {block_threads}, 0, rows, aligned, n, k, x + r * k, w,
           scale, bias, y + r * n);
  }
}

}  // namespace

QuantizeKernels const device_quantize_kernels{few_rows, nullptr};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
