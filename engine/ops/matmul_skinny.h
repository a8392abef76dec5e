// Matrix products with few rows or few columns, bound by reading the other operand once.
#pragma once

#include <heed/engine/ops/matmul_tile.h>

#include <cstdint>
#include <utility>

namespace heed {
inline namespace HEED_ISA_LEVEL {

/// y[n] += Σ_p a[p·a_step]·B[p, n] for p < k, whole rows of B at a time, so that memory is read in order.
template <class T>
void stream_rows(int64_t n, int64_t k, T const* a, int64_t a_step, T const* b, int64_t b_row, T* y) {
  using V = Vec<T>;
  constexpr int width = V::width, depth = 8;
  int64_t const whole = n / width * width;
  Part<T> const part(n - whole);
  int64_t p = 0;
  for (; p + depth <= k; p += depth, b += depth * b_row) {
    V x[depth];
#pragma GCC unroll 8
    for (int u = 0; u < depth; ++u) x[u] = V(a[(p + u) * a_step]);
    T const* low = b;
    T const* high = b + 4 * b_row;
    for (int64_t j = 0; j < whole; j += width) {
      V sum = V::load(y + j);
#pragma GCC unroll 8
      for (int u = 0; u < depth; ++u) sum = fma(x[u], V::load((u < 4 ? low : high) + (u % 4) * b_row + j), sum);
      sum.store(y + j);
    }
    if (whole < n) {
      V sum = part.load(y + whole);
#pragma GCC unroll 8
      for (int u = 0; u < depth; ++u) sum = fma(x[u], part.load(b + u * b_row + whole), sum);
      part.store(sum, y + whole);
    }
  }
  for (; p < k; ++p, b += b_row) {
    V const x(a[p * a_step]);
    for (int64_t j = 0; j < whole; j += width) fma(x, V::load(b + j), V::load(y + j)).store(y + j);
    if (whole < n) part.store(fma(x, part.load(b + whole), part.load(y + whole)), y + whole);
  }
}

/// Sums of neighbours at distance d: of a in lanes whose number has bit d clear, of b in the others.
template <int d, class R, size_t... i>
R add_pairs(R a, R b, std::index_sequence<i...>) {
  constexpr int width = sizeof...(i);
  return __builtin_shufflevector(a, b, (int(i) & d ? width + int(i) : int(i))...) +
         __builtin_shufflevector(a, b, (int(i) & d ? width + (int(i) ^ d) : int(i) ^ d)...);
}
/// Lane c: the sum of x[c]'s lanes.
template <class T, int d = Vec<T>::width / 2>
Vec<T> reduce_each(Vec<T>* x) {
  if constexpr (d == 0) {
    return x[0];
  } else {
#pragma GCC unroll 8
    for (int c = 0; c < d; ++c)
      x[c] = Batch<T>(add_pairs<d>(x[c].v.data, x[c + d].v.data, std::make_index_sequence<Vec<T>::width>{}));
    return reduce_each<T, d / 2>(x);
  }
}

/// Lane c: Σ_p a[p]·B[p, c], both operands contiguous along p.
template <class T>
Vec<T> multiply_row_dots(int64_t k, T const* a, T const* b, int64_t b_col) {
  using V = Vec<T>;
  constexpr int width = V::width;
  V sum[width];
#pragma GCC unroll 16
  for (int c = 0; c < width; ++c) sum[c] = V(0);
  int64_t const whole = k / width * width;
  auto step = [&](auto load) {
    V const x = load(a);
#pragma GCC unroll 16
    for (int c = 0; c < width; ++c) sum[c] = fma(x, load(b + c * b_col), sum[c]);
  };
  for (int64_t p = 0; p < whole; p += width, a += width, b += width) step([](T const* from) { return V::load(from); });
  if (whole < k) {
    Part<T> const part(k - whole);
    step([&part](T const* from) { return part.load(from); });
  }
  return reduce_each<T>(sum);
}

inline constexpr int dot_rows = 4, dot_cols = 3;

/// sums[r][c] = Σ_p A[r, p]·B[p, c], both operands contiguous along p.
template <class T, int rows, int cols>
void multiply_dots(int64_t k, T const* a, int64_t a_row, T const* b, int64_t b_col, T (*sums)[dot_cols]) {
  using V = Vec<T>;
  constexpr int width = V::width;
  V sum[rows][cols];
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < cols; ++c) sum[r][c] = V(0);
  }
  int64_t const whole = k / width * width;
  auto step = [&](auto load) {
    V x[cols];
#pragma GCC unroll 4
    for (int c = 0; c < cols; ++c) x[c] = load(b + c * b_col);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      V const y = load(a + r * a_row);
#pragma GCC unroll 4
      for (int c = 0; c < cols; ++c) sum[r][c] = fma(y, x[c], sum[r][c]);
    }
  };
  for (int64_t p = 0; p < whole; p += width, a += width, b += width) step([](T const* from) { return V::load(from); });
  if (whole < k) {
    Part<T> const part(k - whole);
    step([&part](T const* from) { return part.load(from); });
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < cols; ++c) sums[r][c] = reduce_add(sum[r][c]);
  }
}

template <class T>
struct DotTable {
  using Function = void (*)(int64_t, T const*, int64_t, T const*, int64_t, T (*)[dot_cols]);
  Function at[dot_rows][dot_cols];  // [rows - 1][cols - 1]
};
template <class T>
inline constexpr DotTable<T> dots = {{{&multiply_dots<T, 1, 1>, &multiply_dots<T, 1, 2>, &multiply_dots<T, 1, 3>},
                                      {&multiply_dots<T, 2, 1>, &multiply_dots<T, 2, 2>, &multiply_dots<T, 2, 3>},
                                      {&multiply_dots<T, 3, 1>, &multiply_dots<T, 3, 2>, &multiply_dots<T, 3, 3>},
                                      {&multiply_dots<T, 4, 1>, &multiply_dots<T, 4, 2>, &multiply_dots<T, 4, 3>}}};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
