// Kernels of softmax and log-softmax over rows.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// x: row r at x + r·x_stride; everything else is [rows, n] contiguous. y may be x, and dx may be g or y.
template <class T>
struct SoftmaxKernelsOf {
  /// y_j = exp(x_j - max x) / Σ_k exp(x_k - max x). A row that holds NaN or +inf, or -inf only, becomes NaN.
  void (*softmax)(T const* x, int64_t x_stride, T* y, int64_t rows, int64_t n);
  /// y_j = x_j - max x - log Σ_k exp(x_k - max x)
  void (*log_softmax)(T const* x, int64_t x_stride, T* y, int64_t rows, int64_t n);
  /// dx_j = y_j·(g_j - Σ_k g_k·y_k), y the softmax
  void (*softmax_backward)(T const* g, T const* y, T* dx, int64_t rows, int64_t n);
  /// dx_j = g_j - exp(y_j)·Σ_k g_k, y the log-softmax
  void (*log_softmax_backward)(T const* g, T const* y, T* dx, int64_t rows, int64_t n);
};

struct SoftmaxKernels : PerType<SoftmaxKernelsOf> {};

}  // namespace heed

HEED_KERNELS(SoftmaxKernels, softmax_kernels)
