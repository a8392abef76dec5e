// Copies of blocks of an operand in the order in which the tiles of the matrix product read them.
#pragma once

#include <heed/engine/ops/matmul_tile.h>

#include <cstdint>

namespace heed {
inline namespace HEED_ISA_LEVEL {

// A panel is [k][width]: element (p, i) of `from`, at from[p·step + i·across], goes to to[p·width + i].
// Elements i >= count of a panel wider than `count` are some finite copies or zeros: nobody uses what they give.

/// In-register transpose of 16 bytes by 16 bytes within every 128-bit lane.
template <class T>
void transpose_lanes(Batch<T> (&x)[16 / sizeof(T)]) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    __m512 const a = _mm512_unpacklo_ps(x[0], x[1]), b = _mm512_unpackhi_ps(x[0], x[1]);
    __m512 const c = _mm512_unpacklo_ps(x[2], x[3]), d = _mm512_unpackhi_ps(x[2], x[3]);
    x[0] = _mm512_shuffle_ps(a, c, 0x44), x[1] = _mm512_shuffle_ps(a, c, 0xee);
    x[2] = _mm512_shuffle_ps(b, d, 0x44), x[3] = _mm512_shuffle_ps(b, d, 0xee);
  } else {
    __m512d const a = _mm512_unpacklo_pd(x[0], x[1]), b = _mm512_unpackhi_pd(x[0], x[1]);
    x[0] = a, x[1] = b;
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    __m256 const a = _mm256_unpacklo_ps(x[0], x[1]), b = _mm256_unpackhi_ps(x[0], x[1]);
    __m256 const c = _mm256_unpacklo_ps(x[2], x[3]), d = _mm256_unpackhi_ps(x[2], x[3]);
    x[0] = _mm256_shuffle_ps(a, c, 0x44), x[1] = _mm256_shuffle_ps(a, c, 0xee);
    x[2] = _mm256_shuffle_ps(b, d, 0x44), x[3] = _mm256_shuffle_ps(b, d, 0xee);
  } else {
    __m256d const a = _mm256_unpacklo_pd(x[0], x[1]), b = _mm256_unpackhi_pd(x[0], x[1]);
    x[0] = a, x[1] = b;
  }
#else
  if constexpr (sizeof(T) == 4) {
    auto const a = xsimd::zip_lo(x[0], x[2]), b = xsimd::zip_hi(x[0], x[2]);
    auto const c = xsimd::zip_lo(x[1], x[3]), d = xsimd::zip_hi(x[1], x[3]);
    x[0] = xsimd::zip_lo(a, c), x[1] = xsimd::zip_hi(a, c);
    x[2] = xsimd::zip_lo(b, d), x[3] = xsimd::zip_hi(b, d);
  } else {
    auto const a = xsimd::zip_lo(x[0], x[1]), b = xsimd::zip_hi(x[0], x[1]);
    x[0] = a, x[1] = b;
  }
#endif
}

/// One register of 128-bit pieces, piece l from row[l·(16 / sizeof(T))].
template <class T>
Batch<T> gather_lanes(T const* const* row, int64_t offset) {
  constexpr int piece = 16 / int(sizeof(T));
#if defined(__AVX512F__)
  auto at = [&](int l) { return reinterpret_cast<float const*>(row[l * piece] + offset); };
  __m256 const low = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(at(0))), _mm_loadu_ps(at(1)), 1);
  __m256 const high = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(at(2))), _mm_loadu_ps(at(3)), 1);
  __m512 const all = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  if constexpr (sizeof(T) == 4)
    return all;
  else
    return _mm512_castps_pd(all);
#elif defined(__AVX2__)
  auto at = [&](int l) { return reinterpret_cast<float const*>(row[l * piece] + offset); };
  __m256 const all = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(at(0))), _mm_loadu_ps(at(1)), 1);
  if constexpr (sizeof(T) == 4)
    return all;
  else
    return _mm256_castps_pd(all);
#else
  static_assert(Vec<T>::width == piece);
  return Vec<T>::load(row[0] + offset).v;
#endif
}

/// step = 1: rows along p are contiguous, so blocks of `width of a vector` rows are transposed in registers. The last
/// block may write up to a vector beyond `count` elements of a step: the room of the next step, or the panel's margin.
template <class T>
void pack_across(T const* from, int64_t across, int64_t count, int64_t k, T* to, int64_t width) {
  constexpr int lanes = Vec<T>::width, piece = 16 / int(sizeof(T));
  int64_t const whole = k / piece * piece;
  for (int64_t first = (count - 1) / lanes * lanes; first >= 0; first -= lanes) {  // backwards: see above
    T const* row[lanes];
    for (int i = 0; i < lanes; ++i) row[i] = from + (first + i < count ? first + i : count - 1) * across;
    T* out = to + first;
    for (int64_t p = 0; p < whole; p += piece) {
      Batch<T> x[piece];
#pragma GCC unroll 4
      for (int i = 0; i < piece; ++i) x[i] = gather_lanes(row + i, p);
      transpose_lanes<T>(x);
#pragma GCC unroll 4
      for (int i = 0; i < piece; ++i, out += width) Vec<T>(x[i]).store(out);
    }
    int64_t const here = count - first < lanes ? count - first : lanes;
    for (int64_t p = whole; p < k; ++p, out += width) {
      for (int64_t i = 0; i < here; ++i) out[i] = row[i][p];
    }
  }
}

/// across = 1: sixteen steps of all panels, then the next sixteen, so that whole rows of memory are read while they are
/// near. Writes up to a vector beyond `count`, as above.
template <class T>
void pack_along(T const* from, int64_t step, int64_t count, int64_t k, T* to, int64_t width, int64_t panel) {
  constexpr int64_t lanes = Vec<T>::width, steps = 16;
  for (int64_t p = 0; p < k; p += steps, from += steps * step, to += steps * width) {
    int64_t const here = k - p < steps ? k - p : steps;
    for (int64_t first = 0; first < count; first += width) {
      int64_t const wide = count - first < width ? count - first : width, whole = wide / lanes * lanes;
      Part<T> const part(wide - whole);
      T const* in = from + first;
      T* out = to + first / width * panel;
      for (int64_t q = 0; q < here; ++q, in += step, out += width) {
        __builtin_prefetch(
            reinterpret_cast<void const*>(reinterpret_cast<uintptr_t>(in) + uintptr_t(steps * step) * sizeof(T)));
        for (int64_t i = 0; i < whole; i += lanes) Vec<T>::load(in + i).store(out + i);
        if (whole < wide) part.load(in + whole).store(out + whole);
      }
    }
  }
}

/// `count` elements to a step in panels of `width`, one panel at to + i·panel; each has room for k·width elements and
/// one vector more.
template <class T>
void pack_panels(T const* from, int64_t step, int64_t across, int64_t count, int64_t k, T* to, int64_t width,
                 int64_t panel) {
  if (across == 1) return pack_along(from, step, count, k, to, width, panel);
  for (; count > 0; count -= width, from += width * across, to += panel) {
    int64_t const here = count < width ? count : width;
    if (step == 1) {
      pack_across(from, across, here, k, to, width);
    } else {
      for (int64_t p = 0; p < k; ++p) {
        for (int64_t i = 0; i < here; ++i) to[p * width + i] = from[p * step + i * across];
      }
    }
  }
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
