// The processor's kernels of the spectral factorisations of one matrix.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// False where the iteration does not converge.
struct SpectralKernels {
  /// Symmetric a [n, n], of which the upper triangle is read and the rest is finite: its eigenvectors in rows if
  /// `vectors`, else rubbish; values ascending.
  bool (*eigh)(double* a, double* values, int64_t n, bool vectors);
  /// a [m, n], m ≥ n: u [m, n] in columns and v [n, n] in rows, both or none given; values descending.
  bool (*svd)(double const* a, double* u, double* values, double* v, int64_t m, int64_t n);
};

}  // namespace heed

HEED_KERNELS(SpectralKernels, spectral_kernels)
