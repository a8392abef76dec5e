// The three products of the attention core, on tiles whose rows are padded to whole registers.
#pragma once

#include <heed/engine/lane.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {

#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int product_rows = 8;  // 32 registers: 8×2 accumulators hide the latency of fma
#else
inline constexpr int product_rows = 6;  // 16 registers: 6×2 accumulators, 2 of B, 1 broadcast
#endif

/// C[R][N·width] (+)= A·B, A[r][k] at a[r·lda + k], or at a[k·lda + r] where Across.
template <class T, int R, int N, bool Across>
[[gnu::always_inline]] inline void product_block(T const* a, int64_t lda, T const* b, int64_t ldb, T* c, int64_t ldc,
                                                 int64_t depth, bool accumulate) {
  constexpr int width = Vec<T>::width;
  Vec<T> sum[R][N];
  if (accumulate) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n] = Vec<T>::load(c + r * ldc + n * width);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n] = Vec<T>(Batch<T>(T(0)));
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec<T> row[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) row[n] = Vec<T>::load(b + n * width);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      Vec<T> const x = Batch<T>(Across ? a[r] : a[r * lda]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n] = fma(x, row[n], sum[r][n]);
    }
    a += Across ? lda : 1;
    b += ldb;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sum[r][n].store(c + r * ldc + n * width);
}

template <class T, int N, bool Across>
[[gnu::always_inline]] inline void product_panel(T const* a, int64_t lda, T const* b, int64_t ldb, T* c, int64_t ldc,
                                                 int64_t rows, int64_t depth, bool accumulate) {
  int64_t const step = Across ? 1 : lda;
  int64_t r = 0;
  for (; r + product_rows <= rows; r += product_rows)
    product_block<T, product_rows, N, Across>(a + r * step, lda, b, ldb, c + r * ldc, ldc, depth, accumulate);
  if (r + 4 <= rows) {
    product_block<T, 4, N, Across>(a + r * step, lda, b, ldb, c + r * ldc, ldc, depth, accumulate);
    r += 4;
  }
  if (r + 2 <= rows) {
    product_block<T, 2, N, Across>(a + r * step, lda, b, ldb, c + r * ldc, ldc, depth, accumulate);
    r += 2;
  }
  if (r < rows) product_block<T, 1, N, Across>(a + r * step, lda, b, ldb, c + r * ldc, ldc, depth, accumulate);
}

/// C[rows][columns] (+)= A[rows][depth]·B[depth][columns], columns a multiple of the width; Across: A is stored
/// [depth][rows].
template <class T, bool Across>
[[gnu::noinline]] void product(T const* a, int64_t lda, T const* b, int64_t ldb, T* c, int64_t ldc, int64_t rows,
                               int64_t columns, int64_t depth, bool accumulate) {
  constexpr int width = Vec<T>::width;
  int64_t n = 0;
  for (; n + 2 * width <= columns; n += 2 * width)
    product_panel<T, 2, Across>(a, lda, b + n, ldb, c + n, ldc, rows, depth, accumulate);
  if (n < columns) product_panel<T, 1, Across>(a, lda, b + n, ldb, c + n, ldc, rows, depth, accumulate);
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
