#include <heed/engine/isa.h>
#include <heed/engine/lane.h>
#include <heed/engine/ops/quantize.h>
#include <heed/engine/parallel.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

constexpr int width = Vec<float>::width;
/// `width` bytes as floats; written out, because compilers convert them one by one.
[[gnu::always_inline]] inline Vec<float> load_bytes(int8_t const* from) {
#if defined(__AVX512F__)
  return Batch<float>(
      _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<__m128i const*>(from)))));
#elif defined(__AVX2__)
  return Batch<float>(
      _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<__m128i const*>(from)))));
#elif defined(__SSE4_1__)
  int32_t four;
  __builtin_memcpy(&four, from, 4);
  return Batch<float>(_mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four))));
#else
  alignas(64) float wide[width];
  for (int i = 0; i < width; ++i) wide[i] = from[i];
  return Vec<float>::load(wide);
#endif
}

/// R rows of x against N rows of w.
template <int R, int N>
void dots(int64_t k, float const* x, int8_t const* w, float const* scale, float const* bias, float* y, int64_t y_row) {
  Vec<float> sum[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sum[r][n] = Batch<float>(0.f);
  int64_t i = 0;
  for (; i + width <= k; i += width) {
    Vec<float> row[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) row[r] = Vec<float>::load(x + r * k + i);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      Vec<float> const weight = load_bytes(w + n * k + i);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[r][n] = fma(row[r], weight, sum[r][n]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) {
      float total = reduce_add(sum[r][n]);
      for (int64_t tail = i; tail < k; ++tail) total += x[r * k + tail] * float(w[n * k + tail]);
      y[r * y_row + n] = scale[n] * total + (bias ? bias[n] : 0.f);
    }
}

void few_rows(int64_t m, int64_t n, int64_t k, float const* x, int8_t const* w, float const* scale, float const* bias,
              float* y) {
  int64_t const grain = k < 1 ? n : (65536 + k - 1) / k;
  parallel_for(n, (grain + 3) / 4 * 4, [=](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; o += 4) {
      auto const rows = [&]<int N>(std::integral_constant<int, N>, int64_t at) {
        float const* const b = bias ? bias + at : nullptr;
        int64_t r = 0;
        for (; r + 4 <= m; r += 4) dots<4, N>(k, x + r * k, w + at * k, scale + at, b, y + r * n + at, n);
        for (; r < m; ++r) dots<1, N>(k, x + r * k, w + at * k, scale + at, b, y + r * n + at, n);
      };
      if (o + 4 <= end) {
        rows(std::integral_constant<int, 4>{}, o);
      } else {
        for (int64_t at = o; at < end; ++at) rows(std::integral_constant<int, 1>{}, at);
      }
    }
  });
}

void widen(int64_t count, int8_t const* w, float scale, float* to) {
  Vec<float> const factor = Batch<float>(scale);
  int64_t i = 0;
  for (; i + width <= count; i += width) (load_bytes(w + i) * factor).store(to + i);
  for (; i < count; ++i) to[i] = scale * float(w[i]);
}

}  // namespace

constinit QuantizeKernels const quantize_kernels{few_rows, widen};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
