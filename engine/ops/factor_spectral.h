// Kernels of the spectral factorisations of one matrix (factor.h says what they give).
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

struct SpectralKernels {
  bool (*eigh)(double* a, double* values, int64_t n, bool vectors);
  bool (*svd)(double const* a, double* u, double* values, double* v, int64_t m, int64_t n);
};

}  // namespace heed

HEED_KERNELS(SpectralKernels, spectral_kernels)
