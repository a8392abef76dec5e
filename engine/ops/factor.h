// Factorisations of matrices, in place. Matrices are row-major without gaps and lie end to end; orders of summation
// depend on sizes alone.
#pragma once

#include <heed/engine/device.h>
#include <heed/engine/isa.h>

#include <cmath>
#include <cstdint>
#include <string_view>

namespace heed {

/// Of `count` matrices. wrong [count] says for each 0, or what went wrong.
template <class T>
struct FactorKernelsOf {
  /// The lower triangle of a [n, n] becomes its Cholesky factor, the rest zero; wrong where the leading minor of that
  /// order is not positive.
  void (*cholesky)(T* a, int64_t* wrong, int64_t count, int64_t n);
  /// a [m, n] becomes U and, below, L; row i was exchanged with row pivots[i] ≥ i, both counted from 1.
  void (*lu)(T* a, int32_t* pivots, int64_t count, int64_t m, int64_t n);
  /// b [n, k] becomes x⁻¹·b by the factors of x; infinite, and wrong, where a pivot is exactly 0.
  void (*lu_solve)(T const* a, int32_t const* pivots, T* b, int64_t* wrong, int64_t count, int64_t n, int64_t k);
  /// p [m, m], all 0, becomes the permutation of k exchanges with x = p·L·U; wrong: the exchange with a row that there
  /// is not, counted from 1.
  void (*permutation)(int32_t const* pivots, T* p, int64_t* wrong, int64_t count, int64_t m, int64_t k);
  /// Of x by its factors: value, and its sign and the logarithm of its size.
  void (*determinant)(T const* a, int32_t const* pivots, T* value, T* sign, T* logarithm, int64_t count, int64_t n);
  /// b [n, k] becomes a⁻¹·b for a triangular a [n, n].
  void (*solve_triangular)(T const* a, bool upper, bool unit, T* b, int64_t count, int64_t n, int64_t k);
  /// a [m, n] becomes R and, below, the reflections v of Hᵢ = 1 − tauᵢ·v·vᵀ, vᵢ = 1, with LAPACK's signs.
  void (*qr)(T* a, T* tau, int64_t count, int64_t m, int64_t n);
  /// q [m, columns] becomes H₁·H₂·…·q for the reflections below the diagonal of a [m, n].
  void (*apply_reflections)(T const* a, T const* tau, T* q, int64_t count, int64_t m, int64_t n, int64_t columns);
};

struct FactorKernels : PerType<FactorKernelsOf> {
  static constexpr int64_t not_finite = 1, not_converged = 2;
  /// Symmetric x [n, n], of which one triangle is read: values ascending, vectors, if given, in columns.
  void (*eigh)(double const* x, bool upper, double* values, double* vectors, int64_t* wrong, int64_t count, int64_t n);
  /// a [m, n], m ≥ n: u [m, n] in columns and v [n, n] in rows, both or none given; values descending.
  void (*svd)(double const* a, double* u, double* values, double* v, int64_t* wrong, int64_t count, int64_t m,
              int64_t n);
};
inline char const* kernels_name(FactorKernels const*) { return "factor_kernels"; }

/// Those for tensors on `device`.
FactorKernels const& factor_kernels(Device device, std::string_view op);

namespace factor {

/// Which row of a matrix comes from row i of p⁻¹·x, for k exchanges with rows counted from 1.
constexpr int64_t row_of(int32_t const* pivots, int64_t k, int64_t i) {
  while (k-- > 0) {
    int64_t const with = pivots[k] - 1;
    i = i == k ? with : i == with ? k : i;
  }
  return i;
}

/// The first of k exchanges, counted from 1, with a row outside of m; 0: there is none.
constexpr int64_t bad_exchange(int32_t const* pivots, int64_t k, int64_t m) {
  for (int64_t i = 0; i < k; ++i)
    if (pivots[i] < 1 || pivots[i] > m) return i + 1;
  return 0;
}

template <class T>
struct Determinant {
  T value = 1, sign = 1;
  double logarithm = 0;
  constexpr Determinant(T const* a, int32_t const* pivots, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
      T const pivot = pivots[j] == j + 1 ? a[j * n + j] : -a[j * n + j];
      value *= pivot;
      sign = pivot == 0 ? T(0) : pivot != pivot ? pivot : std::copysign(sign, sign * pivot);
      logarithm += std::log(std::abs(double(pivot)));
      if (pivot == 0) break;
    }
  }
};

}  // namespace factor
}  // namespace heed
