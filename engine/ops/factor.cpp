// Cholesky, LU, QR and triangular systems: blocks of columns by plain loops, the rest by the matrix product's kernel.
#include <heed/engine/ops/factor.h>
#include <heed/engine/ops/matmul.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace heed::factor {
namespace {

constexpr int64_t block = 48;

/// c [m, n] −= a·b, strides in elements.
template <class T>
void subtract_product(T const* a, int64_t a_row, int64_t a_col, T const* b, int64_t b_row, int64_t b_col, T* c,
                      int64_t c_row, int64_t m, int64_t n, int64_t k) {
  if (m == 0 || n == 0 || k == 0) return;
  std::vector<T> minus(size_t(m * k));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p) minus[size_t(i * k + p)] = -a[i * a_row + p * a_col];
  kernels<GemmKernels>().of<T>().gemm({.m = m,
                                       .n = n,
                                       .k = k,
                                       .a = minus.data(),
                                       .a_row = k,
                                       .a_col = 1,
                                       .b = b,
                                       .b_row = b_row,
                                       .b_col = b_col,
                                       .c = c,
                                       .c_row = c_row,
                                       .accumulate = true});
}

/// Rows `from` … to − 1 of the lower triangle a [n, n], whose columns before `from` are already subtracted.
template <class T>
int64_t cholesky_block(T* a, int64_t n, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; ++i) {
    T* const row = a + i * n;
    for (int64_t j = from; j <= i; ++j) {
      T const* const other = a + j * n;
      T rest = row[j];
      for (int64_t p = from; p < j; ++p) rest -= row[p] * other[p];
      if (j < i) {
        row[j] = rest / other[j];
      } else {
        if (!(rest > 0) || std::isinf(rest)) return i + 1;
        row[i] = std::sqrt(rest);
      }
    }
  }
  return 0;
}

}  // namespace

template <class T>
int64_t cholesky(T* a, int64_t n) {
  for (int64_t from = 0; from < n; from += block) {
    int64_t const to = std::min(n, from + block);
    if (int64_t const minor = cholesky_block(a, n, from, to)) return minor;
    for (int64_t i = to; i < n; ++i) {
      T* const row = a + i * n;
      for (int64_t j = from; j < to; ++j) {
        T rest = row[j];
        for (int64_t p = from; p < j; ++p) rest -= row[p] * a[j * n + p];
        row[j] = rest / a[j * n + j];
      }
    }
    // Of the lower triangle only, in bands of rows.
    constexpr int64_t band = 4 * block;
    for (int64_t top = to; top < n; top += band) {
      int64_t const bottom = std::min(n, top + band);
      subtract_product(a + top * n + from, n, 1, a + to * n + from, 1, n, a + top * n + to, n, bottom - top,
                       bottom - to, to - from);
    }
  }
  for (int64_t i = 0; i < n; ++i) std::fill(a + i * n + i + 1, a + (i + 1) * n, T(0));
  return 0;
}

template <class T>
void lu(T* a, int64_t m, int64_t n, int32_t* pivots) {
  int64_t const k = std::min(m, n);
  for (int64_t from = 0; from < k; from += block) {
    int64_t const to = std::min(k, from + block);
    for (int64_t j = from; j < to; ++j) {
      int64_t best = j;
      for (int64_t i = j + 1; i < m; ++i)
        if (std::abs(a[i * n + j]) > std::abs(a[best * n + j])) best = i;
      pivots[j] = int32_t(best);
      if (best != j) std::swap_ranges(a + j * n, a + (j + 1) * n, a + best * n);
      T const pivot = a[j * n + j];
      if (pivot == 0) continue;
      for (int64_t i = j + 1; i < m; ++i) {
        T const factor = a[i * n + j] /= pivot;
        for (int64_t c = j + 1; c < to; ++c) a[i * n + c] -= factor * a[j * n + c];
      }
    }
    for (int64_t i = from + 1; i < to; ++i)
      for (int64_t p = from; p < i; ++p) {
        T const factor = a[i * n + p];
        for (int64_t c = to; c < n; ++c) a[i * n + c] -= factor * a[p * n + c];
      }
    subtract_product(a + to * n + from, n, 1, a + from * n + to, n, 1, a + to * n + to, n, m - to, n - to, to - from);
  }
}

template <class T>
void solve_triangular(T const* a, int64_t row, int64_t column, bool upper, bool unit, T* b, int64_t n, int64_t k) {
  if (upper) {  // the lower triangle, read backwards
    a += (n - 1) * (row + column);
    row = -row, column = -column;
  }
  int64_t const step = upper ? -k : k;
  T* const first = upper ? b + (n - 1) * k : b;
  for (int64_t from = 0; from < n; from += block) {
    int64_t const to = std::min(n, from + block);
    for (int64_t i = from; i < to; ++i) {
      T* const x = first + i * step;
      for (int64_t p = from; p < i; ++p) {
        T const factor = a[i * row + p * column];
        T const* const known = first + p * step;
        for (int64_t c = 0; c < k; ++c) x[c] -= factor * known[c];
      }
      if (unit) continue;
      T const pivot = a[i * row + i * column];
      for (int64_t c = 0; c < k; ++c) x[c] /= pivot;
    }
    subtract_product(a + to * row + from * column, row, column, first + from * step, step, 1, first + to * step, step,
                     n - to, k, to - from);
  }
}

template <class T>
void qr(T* a, T* tau, int64_t m, int64_t n) {
  std::vector<T> dots(static_cast<size_t>(n));
  for (int64_t j = 0; j < std::min(m, n); ++j) {
    T largest = 0;
    for (int64_t i = j + 1; i < m; ++i)
      if (T const size = std::abs(a[i * n + j]); !(size <= largest)) largest = size;
    tau[j] = 0;
    if (largest == 0) continue;
    T& head = a[j * n + j];
    largest = std::max(largest, std::abs(head));
    if (std::isinf(largest)) largest = 1;
    T total = 0;
    for (int64_t i = j; i < m; ++i) total += (a[i * n + j] / largest) * (a[i * n + j] / largest);
    // In units of `largest`, so that the smallest numbers keep their digits.
    T const unit_head = head / largest, beta = unit_head < 0 ? std::sqrt(total) : -std::sqrt(total);
    tau[j] = (beta - unit_head) / beta;
    for (int64_t i = j + 1; i < m; ++i) a[i * n + j] = a[i * n + j] / largest / (unit_head - beta);
    head = beta * largest;
    // a −= tau·v·(vᵀ·a)
    std::copy(a + j * n + j + 1, a + (j + 1) * n, dots.begin());
    int64_t const width = n - j - 1;
    for (int64_t i = j + 1; i < m; ++i)
      for (int64_t c = 0; c < width; ++c) dots[size_t(c)] += a[i * n + j] * a[i * n + j + 1 + c];
    for (int64_t c = 0; c < width; ++c) a[j * n + j + 1 + c] -= tau[j] * dots[size_t(c)];
    for (int64_t i = j + 1; i < m; ++i) {
      T const factor = tau[j] * a[i * n + j];
      for (int64_t c = 0; c < width; ++c) a[i * n + j + 1 + c] -= factor * dots[size_t(c)];
    }
  }
}

template <class T>
void apply_reflections(T const* a, int64_t n, T const* tau, int64_t count, T* q, int64_t m, int64_t columns) {
  std::vector<T> dots(static_cast<size_t>(columns));
  for (int64_t j = count; j-- > 0;) {
    if (tau[j] == 0) continue;
    std::copy(q + j * columns, q + (j + 1) * columns, dots.begin());
    for (int64_t i = j + 1; i < m; ++i)
      for (int64_t c = 0; c < columns; ++c) dots[size_t(c)] += a[i * n + j] * q[i * columns + c];
    for (int64_t i = j; i < m; ++i) {
      T const factor = tau[j] * (i == j ? T(1) : a[i * n + j]);
      for (int64_t c = 0; c < columns; ++c) q[i * columns + c] -= factor * dots[size_t(c)];
    }
  }
}

template int64_t cholesky(float*, int64_t);
template int64_t cholesky(double*, int64_t);
template void lu(float*, int64_t, int64_t, int32_t*);
template void lu(double*, int64_t, int64_t, int32_t*);
template void solve_triangular(float const*, int64_t, int64_t, bool, bool, float*, int64_t, int64_t);
template void solve_triangular(double const*, int64_t, int64_t, bool, bool, double*, int64_t, int64_t);
template void qr(float*, float*, int64_t, int64_t);
template void qr(double*, double*, int64_t, int64_t);
template void apply_reflections(float const*, int64_t, float const*, int64_t, float*, int64_t, int64_t);
template void apply_reflections(double const*, int64_t, double const*, int64_t, double*, int64_t, int64_t);

}  // namespace heed::factor
