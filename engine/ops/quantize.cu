// Products with weights of 8 bits on an accelerator: the weights' bytes bound few rows.
#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

constexpr int weights_each = 16;  // what one access moves

struct alignas(16) Weights {
  int8_t v[weights_each];
};

/// Up to `most` rows of x meet each weight that is read; a warp has one row of the weight.
template <int most>
__global__ void __launch_bounds__(block_threads, 1)
    few_rows_kernel(int rows, int64_t m0, int64_t n, int64_t k, float const* x, int8_t const* w, float const* scale,
                    float const* bias, float* y) {
  int64_t const o = int64_t(blockIdx.x) * (block_threads / warp_threads) + int(threadIdx.x) / warp_threads;
  int const lane = int(threadIdx.x) % warp_threads;
  bool const live = o < n;
  float sums[most] = {};
  if (live) {
    int8_t const* const from = w + o * k;
    bool const whole = k % weights_each == 0 && is_aligned(w);
    for (int64_t at = lane * weights_each; at < k; at += warp_threads * weights_each) {
      Weights here;
      if (whole)
        here = *reinterpret_cast<Weights const*>(from + at);
      else
#pragma unroll
        for (int i = 0; i < weights_each; ++i) here.v[i] = at + i < k ? from[at + i] : int8_t(0);
#pragma unroll
      for (int r = 0; r < most; ++r)
        if (r < rows)
#pragma unroll
          for (int i = 0; i < weights_each; ++i)
            if (at + i < k) sums[r] += x[(m0 + r) * k + at + i] * float(here.v[i]);
    }
  }
#pragma unroll
  for (int r = 0; r < most; ++r)
#pragma unroll
    for (int d = warp_threads / 2; d > 0; d /= 2) sums[r] += shuffle_xor(sums[r], d);
  if (!live || lane != 0) return;
#pragma unroll
  for (int r = 0; r < most; ++r)
    if (r < rows) y[(m0 + r) * n + o] = sums[r] * scale[o] + (bias ? bias[o] : 0.f);
}

void few_rows(int64_t m, int64_t n, int64_t k, float const* x, int8_t const* w, float const* scale, float const* bias,
              float* y) {
  constexpr int most = 4, warps = block_threads / warp_threads;
  if (n == 0) return;
  for (int64_t first = 0; first < m; first += most)
    launch(few_rows_kernel<most>, "linear_int8", in_a_row((n + warps - 1) / warps), {block_threads}, 0,
           m - first < most ? int(m - first) : most, first, n, k, x, w, scale, bias, y);
}

}  // namespace

QuantizeKernels const device_quantize_kernels{few_rows, nullptr};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
