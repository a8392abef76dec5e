// Kernels of the matrix product: C = A·B with any strides of A and B, optional C + … and bias, and batches of them.
#pragma once

#include <heed/engine/isa.h>
#include <heed/engine/ops/per_half.h>

#include <cstdint>

namespace heed {

/// C[m, n] = (C[m, n] if accumulate) + A[m, k]·B[k, n] + bias[n]. Strides are in elements; a transpose is a pair of
/// strides, a stride of zero broadcasts. Columns of C are contiguous; C overlaps neither A nor B nor bias.
template <class T>
struct GemmArgs {
  int64_t m, n, k;
  T const* a;
  int64_t a_row, a_col;
  T const* b;
  int64_t b_row, b_col;
  T* c;
  int64_t c_row;
  T const* bias = nullptr;
  bool accumulate = false;
};

/// Bits depend on sizes, strides and level, never on the number of threads; for one product, each element of C adds its
/// terms in an order that depends on (m, n, k) and strides only.
template <class T>
struct GemmTable {
  void (*gemm)(GemmArgs<T> const&);
  /// Product i reads A + i·a_step and B + i·b_step and writes C + i·c_step. A c_step of zero sums the products.
  void (*gemm_batched)(GemmArgs<T> const& first, int64_t batch, int64_t a_step, int64_t b_step, int64_t c_step);
};

struct GemmKernels : PerType<GemmTable> {};

/// Products on the matrix units of an accelerator; the processor widens 16-bit operands instead.
struct MatrixUnitKernels : PerHalf<GemmTable> {
  GemmTable<float> tf32;  // operands rounded to 10 bits of fraction
};
inline char const* kernels_name(MatrixUnitKernels const*) { return "matrix_unit_kernels"; }

}  // namespace heed

HEED_KERNELS(GemmKernels, gemm_kernels)
