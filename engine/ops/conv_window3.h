// Windows of 3×3 that move by one over one plane, read where the plane lies: the borders are masked lanes.
// For conv.simd.cpp only.
#pragma once

#include <heed/engine/ops/conv.h>
#include <heed/engine/ops/rows.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {

/// The lanes [first, last) of a register; what is read for the others is 0, and no memory of theirs is touched.
template <class T>
class Span {
 public:
  static constexpr int width = Vec<T>::width;

#if defined(__AVX512F__)
  Span(int64_t first, int64_t last) {
    auto const below = [](int64_t n) { return n <= 0 ? 0u : n >= width ? (1u << width) - 1u : (1u << n) - 1u; };
    mask_ = below(last) & ~below(first);
  }
  Vec<T> load(T const* base, int64_t at) const {
    T const* const from = address(base, at);
    if constexpr (sizeof(T) == 4)
      return Batch<T>(_mm512_maskz_loadu_ps(__mmask16(mask_), from));
    else
      return Batch<T>(_mm512_maskz_loadu_pd(__mmask8(mask_), from));
  }

 private:
  unsigned mask_;

#elif defined(__AVX2__)
  Span(int64_t first, int64_t last) {
    alignas(32) int32_t lanes[8];
    constexpr int words = sizeof(T) / 4;
    for (int i = 0; i < 8; ++i) lanes[i] = i / words >= first && i / words < last ? -1 : 0;
    mask_ = _mm256_load_si256(reinterpret_cast<__m256i const*>(lanes));
  }
  Vec<T> load(T const* base, int64_t at) const {
    T const* const from = address(base, at);
    if constexpr (sizeof(T) == 4)
      return Batch<T>(_mm256_maskload_ps(from, mask_));
    else
      return Batch<T>(_mm256_maskload_pd(from, mask_));
  }

 private:
  __m256i mask_;

#else
  Span(int64_t first, int64_t last) : first_(first > 0 ? first : 0), last_(last < width ? last : width) {}
  Vec<T> load(T const* base, int64_t at) const {
    if (first_ == 0 && last_ == width) return Vec<T>::load(base + at);
    alignas(64) T lanes[width] = {};
    for (int64_t i = first_; i < last_; ++i) lanes[i] = base[at + i];
    return Vec<T>::load(lanes);
  }

 private:
  int64_t first_, last_;
#endif

  /// base + at, which may lie before the array where the lanes that do so are masked.
  static T const* address(T const* base, int64_t at) {
    return reinterpret_cast<T const*>(reinterpret_cast<uintptr_t>(base) + uintptr_t(at) * sizeof(T));
  }
};

/// One register of columns from `j` on: what each of the three taps of a row reads.
template <class T>
struct Window3 {
  Window3(ConvShape const& s, int64_t j)
      : first(j - s.axis[2].pad), width(s.axis[2].in), taps{span(0), span(1), span(2)} {}
  Span<T> span(int64_t tap) const { return {-(first + tap), width - (first + tap)}; }

  int64_t first, width;
  Span<T> taps[3];
};

/// Rows [r, r + R) of the columns of `window` from j on; each row of x is read once for the R rows.
template <int R, class T, class Store>
void correlate_3x3_rows(ConvShape const& s, Window3<T> const& window, T const* x, Vec<T> const (&weight)[3][3],
                        Vec<T> bias, int64_t r, T* y, Store const& store) {
  WindowAxis const& rows = s.axis[1];
  Vec<T> sum[R];
#pragma GCC unroll 4
  for (int o = 0; o < R; ++o) sum[o] = bias;
#pragma GCC unroll 6
  for (int i = 0; i < R + 2; ++i) {
    int64_t const in = r + i - rows.pad;
    if (in < 0 || in >= rows.in) continue;
#pragma GCC unroll 3
    for (int t = 0; t < 3; ++t) {
      Vec<T> const v = window.taps[t].load(x, in * window.width + window.first + t);
#pragma GCC unroll 3
      for (int k = 0; k < 3; ++k)
        if (i - k >= 0 && i - k < R) sum[i - k] = fma(weight[k][t], v, sum[i - k]);
    }
  }
#pragma GCC unroll 4
  for (int o = 0; o < R; ++o) store(sum[o], y + o * s.axis[2].out);
}

template <class T>
void correlate_3x3(ConvShape const& s, T const* x, T const* weight, T bias, T* y) {
  constexpr int w = Vec<T>::width;
  Vec<T> taps[3][3];
  for (int k = 0; k < 9; ++k) taps[k / 3][k % 3] = weight[k];
  int64_t const height = s.axis[1].out, width = s.axis[2].out;
  for (int64_t j = 0; j < width; j += w) {
    Window3<T> const window(s, j);
    auto const run = [&](auto const& store) __attribute__((always_inline)) {
      int64_t r = 0;
      for (; r + 4 <= height; r += 4) correlate_3x3_rows<4, T>(s, window, x, taps, bias, r, y + r * width + j, store);
      for (; r < height; ++r) correlate_3x3_rows<1, T>(s, window, x, taps, bias, r, y + r * width + j, store);
    };
    if (int64_t const left = width - j; left < w)
      run([left](Vec<T> v, T* to) { v.store_first(to, int(left)); });
    else
      run([](Vec<T> v, T* to) { v.store(to); });
  }
}

/// weight[k, t] += Σ over r, j of g[r, j]·x[r + k − pad, j + t − pad]: each row of x is read once.
template <class T>
void correlate_3x3_weight(ConvShape const& s, T const* x, T const* g, T* weight) {
  constexpr int w = Vec<T>::width;
  WindowAxis const& rows = s.axis[1];
  int64_t const width = s.axis[2].out;
  Vec<T> sum[3][3];
  for (int k = 0; k < 9; ++k) sum[k / 3][k % 3] = T(0);
  for (int64_t j = 0; j < width; j += w) {
    Window3<T> const window(s, j);
    Span<T> const here(0, width - j);
    for (int64_t in = 0; in < rows.in; ++in) {
      Vec<T> v[3];
#pragma GCC unroll 3
      for (int t = 0; t < 3; ++t) v[t] = window.taps[t].load(x, in * window.width + window.first + t);
#pragma GCC unroll 3
      for (int k = 0; k < 3; ++k) {
        int64_t const r = in - k + rows.pad;
        if (r < 0 || r >= rows.out) continue;
        Vec<T> const to = here.load(g, r * width + j);
#pragma GCC unroll 3
        for (int t = 0; t < 3; ++t) sum[k][t] = fma(to, v[t], sum[k][t]);
      }
    }
  }
  for (int k = 0; k < 9; ++k) weight[k] += fold_lanes<Add, T>(sum[k / 3][k % 3]);
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
