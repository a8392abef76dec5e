// Cholesky, LU, QR and triangular systems: blocks of columns by plain loops, the rest by the matrix product's kernel.
#include <heed/engine/backend.h>
#include <heed/engine/ops/batch.h>
#include <heed/engine/ops/factor.h>
#include <heed/engine/ops/factor_spectral.h>
#include <heed/engine/ops/matmul.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace heed {
namespace factor {
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

/// As the kernels of the table below, of one matrix each.
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
      pivots[j] = int32_t(best + 1);
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

/// In tiles, which cache holds.
void transpose(double const* from, int64_t n, double* to) {
  constexpr int64_t tile = 16;
  for (int64_t r = 0; r < n; r += tile)
    for (int64_t c = 0; c < n; c += tile)
      for (int64_t i = r; i < std::min(n, r + tile); ++i)
        for (int64_t j = c; j < std::min(n, c + tile); ++j) to[i * n + j] = from[j * n + i];
}

int64_t eigh(double const* x, bool upper, double* values, double* vectors, int64_t n) {
  Tensor const work({n, n}, Dtype::f64);
  double* const a = work.data<double>();
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = r; c < n; ++c) a[r * n + c] = upper ? x[r * n + c] : x[c * n + r];
    if (!all_finite(a + r * n + r, n - r)) return FactorKernels::not_finite;
    std::fill_n(a + r * n, r, 0.0);
  }
  if (!kernels<SpectralKernels>().eigh(a, values, n, vectors != nullptr)) return FactorKernels::not_converged;
  if (vectors) transpose(a, n, vectors);
  return 0;
}

template <class T>
bool singular(T const* a, int64_t n) {
  for (int64_t j = 0; j < n; ++j)
    if (a[j * n + j] == 0) return true;
  return false;
}

template <class T>
constexpr FactorKernelsOf<T> here{
    .cholesky =
        [](T* a, int64_t* wrong, int64_t count, int64_t n) {
          for_each_matrix(count, double(n * n) * double(n) / 3,
                          [&](int64_t i) { wrong[i] = cholesky(a + i * n * n, n); });
        },
    .lu =
        [](T* a, int32_t* pivots, int64_t count, int64_t m, int64_t n) {
          int64_t const k = std::min(m, n);
          for_each_matrix(count, double(m * n) * double(k),
                          [&](int64_t i) { lu(a + i * m * n, m, n, pivots + i * k); });
        },
    .lu_solve =
        [](T const* a, int32_t const* pivots, T* b, int64_t* wrong, int64_t count, int64_t n, int64_t k) {
          for_each_matrix(count, 2 * double(n * n) * double(k), [&](int64_t i) {
            T const* const m = a + i * n * n;
            T* const x = b + i * n * k;
            wrong[i] = singular(m, n);
            if (wrong[i]) return (void)std::fill_n(x, n * k, std::numeric_limits<T>::infinity());
            for (int64_t j = 0; j < n; ++j)
              if (int64_t const with = pivots[i * n + j] - 1; with != j)
                std::swap_ranges(x + j * k, x + (j + 1) * k, x + with * k);
            solve_triangular(m, n, 1, false, true, x, n, k);
            solve_triangular(m, n, 1, true, false, x, n, k);
          });
        },
    .permutation =
        [](int32_t const* pivots, T* p, int64_t* wrong, int64_t count, int64_t m, int64_t k) {
          for (int64_t b = 0; b < count; ++b) {
            wrong[b] = bad_exchange(pivots + b * k, k, m);
            if (wrong[b]) continue;
            for (int64_t i = 0; i < m; ++i) p[(b * m + row_of(pivots + b * k, k, i)) * m + i] = 1;
          }
        },
    .determinant =
        [](T const* a, int32_t const* pivots, T* value, T* sign, T* logarithm, int64_t count, int64_t n) {
          for (int64_t i = 0; i < count; ++i) {
            Determinant<T> const d(a + i * n * n, pivots + i * n, n);
            value[i] = d.value, sign[i] = d.sign, logarithm[i] = T(d.logarithm);
          }
        },
    .solve_triangular =
        [](T const* a, bool upper, bool unit, T* b, int64_t count, int64_t n, int64_t k) {
          for_each_matrix(count, double(n * n) * double(k),
                          [&](int64_t i) { solve_triangular(a + i * n * n, n, 1, upper, unit, b + i * n * k, n, k); });
        },
    .qr =
        [](T* a, T* tau, int64_t count, int64_t m, int64_t n) {
          int64_t const k = std::min(m, n);
          for_each_matrix(count, 4 * double(m * n) * double(k),
                          [&](int64_t i) { qr(a + i * m * n, tau + i * k, m, n); });
        },
    .apply_reflections =
        [](T const* a, T const* tau, T* q, int64_t count, int64_t m, int64_t n, int64_t columns) {
          int64_t const k = std::min(m, n);
          for_each_matrix(count, 4 * double(m * columns) * double(k), [&](int64_t i) {
            apply_reflections(a + i * m * n, n, tau + i * k, k, q + i * m * columns, m, columns);
          });
        },
};

void eigh(double const* x, bool upper, double* values, double* vectors, int64_t* wrong, int64_t count, int64_t n) {
  for_each_matrix(count, 20 * double(n * n) * double(n), [&](int64_t i) {
    wrong[i] = eigh(x + i * n * n, upper, values + i * n, vectors ? vectors + i * n * n : nullptr, n);
  });
}

void svd(double const* a, double* u, double* values, double* v, int64_t* wrong, int64_t count, int64_t m, int64_t n) {
  for_each_matrix(count, 20 * double(m * n) * double(n), [&](int64_t i) {
    double const* const from = a + i * m * n;
    wrong[i] = !all_finite(from, m * n) ? FactorKernels::not_finite
               : kernels<SpectralKernels>().svd(from, u ? u + i * m * n : nullptr, values + i * n,
                                                u ? v + i * n * n : nullptr, m, n)
                   ? 0
                   : FactorKernels::not_converged;
  });
}

constexpr FactorKernels on_processor{{here<float>, here<double>}, eigh, svd};

}  // namespace
}  // namespace factor

FactorKernels const& factor_kernels(Device device, std::string_view op) {
  return device.is_cpu() ? factor::on_processor : device_kernels<FactorKernels>(device, op);
}

}  // namespace heed
