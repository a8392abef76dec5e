// Rare functions of f64, f32 operands widened: which there are, and an accelerator's kernels of them.
#pragma once

#include <heed/engine/dtype.h>
#include <heed/engine/special_formulas.h>

#include <cstdint>

namespace heed {

/// All contiguous, n elements stored as `dtype`, f32 or f64.
struct SpecialKernels {
  void (*each)(special_formulas::Function f, Dtype dtype, void const* x, void* y, int64_t n);
  /// The lower incomplete gamma function, or the upper.
  void (*gamma)(bool upper, Dtype dtype, void const* a, void const* x, void* y, int64_t n);
  void (*frexp)(Dtype dtype, void const* x, void* mantissa, int32_t* exponent, int64_t n);
  /// The derivative of this order, below special_formulas::most_orders. Degrees above `highest` give NaN.
  void (*polynomial)(special_formulas::Family family, int order, int64_t highest, Dtype dtype, void const* x,
                     int64_t const* degree, void* y, int64_t n);
};

inline char const* kernels_name(SpecialKernels const*) { return "special_kernels"; }

}  // namespace heed
