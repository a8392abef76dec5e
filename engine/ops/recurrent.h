// Kernels of one step of recurrent layers: what follows the matrix products.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// Every operand is [rows, n], or [rows, k·n] for k gates side by side, contiguous. `before` is the state before the
/// step. In backward, g is the gradient of the step's output, and dh that of its h from later steps; both add up.
template <class T>
struct RecurrentKernelsOf {
  /// h = tanh(sums) or max(0, sums)
  void (*simple)(T const* sums, T* h, bool relu, int64_t rows, int64_t n);
  void (*simple_backward)(T const* h, T const* g, T const* dh, T* dsums, bool relu, int64_t rows, int64_t n);
  /// gates, sums at first, become i, f, o = σ, g = tanh of them; c = f·before + i·g; h = o·tanh(c).
  void (*lstm)(T* gates, T const* before, T* c, T* h, int64_t rows, int64_t n);
  /// dc, the gradient of c from later steps, becomes that of `before`.
  void (*lstm_backward)(T const* gates, T const* before, T const* c, T const* g, T const* dh, T* dc, T* dsums,
                        int64_t rows, int64_t n);
  /// With sums x and s of r, z, n: gates = r = σ(x_r + s_r), z = σ(x_z + s_z), n = tanh(x_n + r·s_n), and s_n;
  /// h = n + z·(before − n).
  void (*gru)(T const* x, T const* s, T const* before, T* gates, T* h, int64_t rows, int64_t n);
  /// dh becomes the part of `before`'s gradient that does not go through s.
  void (*gru_backward)(T const* gates, T const* before, T const* g, T* dh, T* dx, T* ds, int64_t rows, int64_t n);
};

struct RecurrentKernels : PerType<RecurrentKernelsOf> {};

}  // namespace heed

HEED_KERNELS(RecurrentKernels, recurrent_kernels)
