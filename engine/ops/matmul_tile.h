// The register tiles of the matrix product. Included by matmul.simd.cpp only.
#pragma once

#include <heed/engine/lane.h>

#include <cstdint>

namespace heed {
inline namespace HEED_ISA_LEVEL {

/// The first `count` < width elements of a vector: what lies behind them is neither read nor written.
template <class T>
class Part {
 public:
  static constexpr int width = Vec<T>::width;
  Part() = default;

#if defined(__AVX512F__)
  explicit Part(int64_t count) : mask_((1u << count) - 1u) {}
  Vec<T> load(T const* from) const {
    if constexpr (sizeof(T) == 4)
      return Batch<T>(_mm512_maskz_loadu_ps(__mmask16(mask_), from));
    else
      return Batch<T>(_mm512_maskz_loadu_pd(__mmask8(mask_), from));
  }
  void store(Vec<T> x, T* to) const {
    if constexpr (sizeof(T) == 4)
      _mm512_mask_storeu_ps(to, __mmask16(mask_), x.v);
    else
      _mm512_mask_storeu_pd(to, __mmask8(mask_), x.v);
  }

 private:
  unsigned mask_ = 0;

#elif defined(__AVX2__)
  explicit Part(int64_t count) : count_(int(count)) {
    static constexpr int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    mask_ = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(ones + 8 - count * int(sizeof(T) / 4)));
  }
  Vec<T> load(T const* from) const {
    if constexpr (sizeof(T) == 4)
      return Batch<T>(_mm256_maskload_ps(from, mask_));
    else
      return Batch<T>(_mm256_maskload_pd(from, mask_));
  }
  // Masked stores take tens of cycles on some processors: plain stores of 4, 2 and 1 instead.
  void store(Vec<T> x, T* to) const {
    if constexpr (sizeof(T) == 4) {
      __m128 half = _mm256_castps256_ps128(x.v);
      if (count_ & 4) {
        _mm_storeu_ps(to, half);
        half = _mm256_extractf128_ps(x.v, 1);
        to += 4;
      }
      if (count_ & 2) {
        _mm_storel_pi(reinterpret_cast<__m64*>(to), half);
        half = _mm_movehl_ps(half, half);
        to += 2;
      }
      if (count_ & 1) _mm_store_ss(to, half);
    } else {
      __m128d half = _mm256_castpd256_pd128(x.v);
      if (count_ & 2) {
        _mm_storeu_pd(to, half);
        half = _mm256_extractf128_pd(x.v, 1);
        to += 2;
      }
      if (count_ & 1) _mm_store_sd(to, half);
    }
  }

 private:
  __m256i mask_ = {};
  int count_ = 0;

#else
  explicit Part(int64_t count) : count_(int(count)) {}
#if defined(__SSE2__)
  Vec<T> load(T const* from) const {
    if constexpr (sizeof(T) == 4) {
      __m128 low = _mm_load_ss(from);
      if (count_ == 1) return Batch<T>(low);
      low = _mm_loadl_pi(_mm_setzero_ps(), reinterpret_cast<__m64 const*>(from));
      return Batch<T>(count_ == 2 ? low : _mm_movelh_ps(low, _mm_load_ss(from + 2)));
    } else {
      return Batch<T>(_mm_load_sd(from));
    }
  }
  void store(Vec<T> x, T* to) const {
    if constexpr (sizeof(T) == 4) {
      if (count_ == 1) return _mm_store_ss(to, x.v);
      _mm_storel_pi(reinterpret_cast<__m64*>(to), x.v);
      if (count_ == 3) _mm_store_ss(to + 2, _mm_movehl_ps(x.v, x.v));
    } else {
      _mm_store_sd(to, x.v);
    }
  }
#else
  Vec<T> load(T const* from) const { return Vec<T>::load_first(from, count_); }
  void store(Vec<T> x, T* to) const { x.store_first(to, count_); }
#endif

 private:
  int count_ = 0;
#endif
};

/// Rows and vectors of the largest tile: rows·vectors accumulators, `vectors` registers of B and one of A fit the
/// register file (32 for AVX-512 and NEON, else 16).
#if defined(__SANITIZE_ADDRESS__)
inline constexpr int tile_rows = 4, tile_vectors = 2;  // fewer: instrumented tiles take minutes to compile
#elif defined(__AVX512F__)
inline constexpr int tile_rows = 14, tile_vectors = 2;
#elif defined(__aarch64__)
inline constexpr int tile_rows = 8, tile_vectors = 2;
#else
inline constexpr int tile_rows = 6, tile_vectors = 2;
#endif
template <class T>
inline constexpr int tile_cols = tile_vectors* Vec<T>::width;

/// One tile: C[rows, cols] = (C) + A[rows, k]·B[k, cols] + bias. Columns of B and C are contiguous.
template <class T>
struct Tile {
  int64_t k;
  T const* a;
  int64_t a_row, a_col;
  T const* b;
  int64_t b_row;
  T* c;
  int64_t c_row;
  T const* bias;
  bool accumulate;
  Part<T> part;  // columns of the last vector, where it is not whole
};

template <class T, int rows, int vectors, bool whole>
void multiply_tile(Tile<T> const& t) {
  using V = Vec<T>;
  constexpr int width = V::width;
  constexpr int groups = (rows + 2) / 3;  // three rows to a pointer: x86 addresses p, p + s and p + 2s
  int64_t const s = t.a_row, a_col = t.a_col, b_row = t.b_row;
  Part<T> const part = t.part;
  auto load = [&part](T const* from, int v) {
    return whole || v < vectors - 1 ? V::load(from + v * width) : part.load(from + v * width);
  };

  T const* a[groups];
#pragma GCC unroll 16
  for (int g = 0; g < groups; ++g) a[g] = t.a + 3 * g * s;
  T const* b = t.b;

  // C comes from far where it is large: asked for now, it is there at the end.
  if (t.k >= 64) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v += 64 / int(sizeof(V))) __builtin_prefetch(t.c + r * t.c_row + v * width, 0, 2);
    }
  }

  V sum[rows][vectors];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[r][v] = V(0);
  }
  for (int64_t p = t.k; p > 0; --p) {
    V x[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) x[v] = load(b, v);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      V const y(a[r / 3][(r % 3) * s]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[r][v] = fma(y, x[v], sum[r][v]);
    }
#pragma GCC unroll 16
    for (int g = 0; g < groups; ++g) a[g] += a_col;
    b += b_row;
  }

  if (t.accumulate) {
    T const* c = t.c;
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r, c += t.c_row) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[r][v] = load(c, v) + sum[r][v];
    }
  }
  if (t.bias) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      V const x = load(t.bias, v);
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) sum[r][v] += x;
    }
  }
  T* c = t.c;
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r, c += t.c_row) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      if (whole || v < vectors - 1)
        sum[r][v].store(c + v * width);
      else
        part.store(sum[r][v], c + v * width);
    }
  }
}

template <class T>
struct TileTable {
  using Function = void (*)(Tile<T> const&);
  Function at[tile_vectors][2][tile_rows];  // [vectors - 1][whole][rows - 1]
};
template <class T, int vectors, bool whole, int rows = 1>
constexpr void fill_tiles(TileTable<T>& table) {
  table.at[vectors - 1][whole][rows - 1] = &multiply_tile<T, rows, vectors, whole>;
  if constexpr (rows < tile_rows) fill_tiles<T, vectors, whole, rows + 1>(table);
}
template <class T>
constexpr TileTable<T> make_tiles() {
  TileTable<T> table{};
  fill_tiles<T, 1, false>(table);
  fill_tiles<T, 1, true>(table);
  fill_tiles<T, 2, false>(table);
  fill_tiles<T, 2, true>(table);
  return table;
}
static_assert(tile_vectors == 2);
template <class T>
inline constexpr TileTable<T> tiles = make_tiles<T>();

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
