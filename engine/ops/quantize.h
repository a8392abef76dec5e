// Kernels of products with weights of 8 bits.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

struct QuantizeKernels {
  /// y[m, n] = scale[n]·Σ_k x[m, k]·w[n, k] (+ bias[n]) for few m: every weight is read once for up to four rows. x and
  /// y have contiguous rows.
  void (*few_rows)(int64_t m, int64_t n, int64_t k, float const* x, int8_t const* w, float const* scale,
                   float const* bias, float* y);
  /// to[i] = scale·w[i]; the processor's alone
  void (*widen)(int64_t count, int8_t const* w, float scale, float* to);
};

}  // namespace heed

HEED_KERNELS(QuantizeKernels, quantize_kernels)
