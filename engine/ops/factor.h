// Factorisations of one matrix, in place. Matrices are row-major without gaps; orders of summation depend on sizes
// alone.
#pragma once

#include <heed/engine/ops/factor_spectral.h>

#include <cstdint>

namespace heed::factor {

/// The lower triangle of a [n, n] becomes its Cholesky factor, the rest zero. Returns 0, or k where the leading minor
/// of order k is not positive.
template <class T>
int64_t cholesky(T* a, int64_t n);

/// a [m, n] becomes U and, below, L; row i was swapped with pivots[i] ≥ i, counted from 0.
template <class T>
void lu(T* a, int64_t m, int64_t n, int32_t* pivots);

/// b [n, k] becomes a⁻¹·b for a triangular a [n, n] with these strides.
template <class T>
void solve_triangular(T const* a, int64_t row, int64_t column, bool upper, bool unit, T* b, int64_t n, int64_t k);

/// a [m, n] becomes R and, below, the reflections v of Hᵢ = 1 − tauᵢ·v·vᵀ, vᵢ = 1, with LAPACK's signs.
template <class T>
void qr(T* a, T* tau, int64_t m, int64_t n);

/// q [m, columns] becomes H₁·…·H_count·q for reflections below the diagonal of a [m, n].
template <class T>
void apply_reflections(T const* a, int64_t n, T const* tau, int64_t count, T* q, int64_t m, int64_t columns);

/// Symmetric a [n, n], of which the upper triangle is read and the rest is finite: its eigenvectors in rows if
/// `vectors`, else rubbish; values ascending. False where the iteration does not converge.
inline bool eigh(double* a, double* values, int64_t n, bool vectors) {
  return kernels<SpectralKernels>().eigh(a, values, n, vectors);
}

/// a [m, n], m ≥ n: u [m, n] in columns and v [n, n] in rows, both or none given; values descending. False where the
/// iteration does not converge.
inline bool svd(double const* a, double* u, double* values, double* v, int64_t m, int64_t n) {
  return kernels<SpectralKernels>().svd(a, u, values, v, m, n);
}

}  // namespace heed::factor
