// Kernels of layer norm and RMS norm over rows.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// x, y, g, dx: [rows, n] contiguous; mean, rstd: [rows]; weight, bias and their gradients: [n].
/// weight and bias may be null (1 and 0); dx, dweight and dbias may be null (not computed). y may be x, dx may be g.
template <class T>
struct NormKernelsOf {
  /// y = (x - mean)·rstd·weight + bias, rstd = 1/sqrt(mean((x - mean)²) + eps)
  void (*layer_norm)(T const* x, T const* weight, T const* bias, double eps, T* y, T* mean, T* rstd, int64_t rows,
                     int64_t n);
  /// With h = (x - mean)·rstd and w = g·weight: dx = rstd·(w - mean(w) - h·mean(w·h)), dweight = Σ_rows g·h, dbias =
  /// Σ_rows g
  void (*layer_norm_backward)(T const* g, T const* x, T const* weight, T const* mean, T const* rstd, T* dx, T* dweight,
                              T* dbias, int64_t rows, int64_t n);
  /// y = x·rstd·weight, rstd = 1/sqrt(mean(x²) + eps)
  void (*rms_norm)(T const* x, T const* weight, double eps, T* y, T* rstd, int64_t rows, int64_t n);
  /// With h = x·rstd and w = g·weight: dx = rstd·(w - h·mean(w·h)), dweight = Σ_rows g·h
  void (*rms_norm_backward)(T const* g, T const* x, T const* weight, T const* rstd, T* dx, T* dweight, int64_t rows,
                            int64_t n);
  /// x, y, g, dx: [batch, channels, n] contiguous; all others [channels]. y = (x - mean)·rstd·weight + bias with mean
  /// and variance over batch and n, and rstd = 1/sqrt(var + eps).
  void (*batch_norm)(T const* x, T const* weight, T const* bias, double eps, T* y, T* mean, T* var, int64_t batch,
                     int64_t channels, int64_t n);
  /// With h = (x - mean)·rstd: dx = rstd·weight·(g - mean(g) - h·mean(g·h)), dweight = Σ g·h, dbias = Σ g
  void (*batch_norm_backward)(T const* g, T const* x, T const* weight, T const* mean, T const* var, double eps, T* dx,
                              T* dweight, T* dbias, int64_t batch, int64_t channels, int64_t n);
};

struct NormKernels : PerType<NormKernelsOf> {};

}  // namespace heed

HEED_KERNELS(NormKernels, norm_kernels)
