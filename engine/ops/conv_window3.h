// Windows of 3×3 that move by one over one plane, read where the plane lies: the borders are masked lanes.
// For conv.simd.cpp only, on instruction sets with masked loads.
#pragma once

#if defined(__AVX2__)

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

#else
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
      : first(j - s.axis[2].pad), width(s.axis[2].in), left(s.axis[2].out - j), taps{span(0), span(1), span(2)} {}
  Span<T> span(int64_t tap) const { return {-(first + tap), width - (first + tap)}; }
  /// Neither what is read nor what is written ends within the register.
  bool inside() const { return first >= 0 && first + 2 + Vec<T>::width <= width && left >= Vec<T>::width; }
  template <bool inside>
  [[gnu::always_inline]] Vec<T> load(T const* x, int64_t row, int tap) const {
    int64_t const at = row * width + first + tap;
    if constexpr (inside)
      return Vec<T>::load(x + at);
    else
      return taps[tap].load(x, at);
  }

  int64_t first, width, left;
  Span<T> taps[3];
};

/// Rows [r, r + R) of the columns of `window`; each row of x is read once for the R rows.
template <int R, bool inside, class T>
[[gnu::always_inline]] inline void correlate_3x3_rows(ConvShape const& s, Window3<T> const& window, T const* x,
                                                      Vec<T> const (&weight)[3][3], T bias, int64_t r, T* y) {
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
      Vec<T> const v = window.template load<inside>(x, in, t);
#pragma GCC unroll 3
      for (int k = 0; k < 3; ++k)
        if (i - k >= 0 && i - k < R) sum[i - k] = fma(weight[k][t], v, sum[i - k]);
    }
  }
#pragma GCC unroll 4
  for (int o = 0; o < R; ++o) {
    if (inside || window.left >= Vec<T>::width)
      sum[o].store(y + o * s.axis[2].out);
    else
      sum[o].store_first(y + o * s.axis[2].out, int(window.left));
  }
}

template <bool inside, class T>
void correlate_3x3_columns(ConvShape const& s, Window3<T> const window, T const* x, T const* weights, T bias, T* y) {
  Vec<T> weight[3][3];
#pragma GCC unroll 9
  for (int k = 0; k < 9; ++k) weight[k / 3][k % 3] = weights[k];
  int64_t const height = s.axis[1].out, width = s.axis[2].out;
  int64_t r = 0;
  for (; r + 4 <= height; r += 4) correlate_3x3_rows<4, inside, T>(s, window, x, weight, bias, r, y + r * width);
  for (; r < height; ++r) correlate_3x3_rows<1, inside, T>(s, window, x, weight, bias, r, y + r * width);
}

template <class T>
void correlate_3x3(ConvShape const& s, T const* x, T const* weight, T bias, T* y) {
  for (int64_t j = 0; j < s.axis[2].out; j += Vec<T>::width) {
    Window3<T> const window(s, j);
    (window.inside() ? correlate_3x3_columns<true, T> : correlate_3x3_columns<false, T>)(s, window, x, weight, bias,
                                                                                         y + j);
  }
}

template <bool inside, class T>
void correlate_3x3_weight_columns(ConvShape const& s, Window3<T> const window, T const* x, T const* g,
                                  Vec<T> (&total)[3][3]) {
  WindowAxis const& rows = s.axis[1];
  int64_t const width = s.axis[2].out;
  Span<T> const here(0, window.left);
  Vec<T> sum[3][3];
#pragma GCC unroll 9
  for (int k = 0; k < 9; ++k) sum[k / 3][k % 3] = total[k / 3][k % 3];
  for (int64_t in = 0; in < rows.in; ++in) {
    Vec<T> v[3];
#pragma GCC unroll 3
    for (int t = 0; t < 3; ++t) v[t] = window.template load<inside>(x, in, t);
#pragma GCC unroll 3
    for (int k = 0; k < 3; ++k) {
      int64_t const r = in - k + rows.pad;
      if (r < 0 || r >= rows.out) continue;
      Vec<T> const to = inside ? Vec<T>::load(g + r * width) : here.load(g, r * width);
#pragma GCC unroll 3
      for (int t = 0; t < 3; ++t) sum[k][t] = fma(to, v[t], sum[k][t]);
    }
  }
#pragma GCC unroll 9
  for (int k = 0; k < 9; ++k) total[k / 3][k % 3] = sum[k / 3][k % 3];
}

/// weight[k, t] += Σ over r, j of g[r, j]·x[r + k − pad, j + t − pad]: each row of x is read once.
template <class T>
void correlate_3x3_weight(ConvShape const& s, T const* x, T const* g, T* weight) {
  Vec<T> sum[3][3];
#pragma GCC unroll 9
  for (int k = 0; k < 9; ++k) sum[k / 3][k % 3] = T(0);
  for (int64_t j = 0; j < s.axis[2].out; j += Vec<T>::width) {
    Window3<T> const window(s, j);
    (window.inside() ? correlate_3x3_weight_columns<true, T> : correlate_3x3_weight_columns<false, T>)(s, window, x,
                                                                                                       g + j, sum);
  }
#pragma GCC unroll 9
  for (int k = 0; k < 9; ++k) weight[k] += fold_lanes<Add, T>(sum[k / 3][k % 3]);
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed

#endif
