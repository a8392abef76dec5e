// Kernels that move elements: between strided and contiguous, and between types.
#pragma once

#include <heed/engine/dtype.h>
#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// shape and strides have `rank` <= 8 entries, outermost first; strides count elements and may be 0 (source only) or
/// negative, the pointer being that of element [0, …, 0]. element_size: 1, 2, 4 or 8 bytes. No overlap.
struct CopyKernels {
  /// dst contiguous
  void (*gather)(void const* src, int64_t const* src_strides, void* dst, int64_t const* shape, int rank,
                 int element_size);
  /// src contiguous
  void (*scatter)(void const* src, void* dst, int64_t const* dst_strides, int64_t const* shape, int rank,
                  int element_size);
  /// dst contiguous, every element the one at `value`
  void (*fill)(void const* value, void* dst, int64_t n, int element_size);
  /// dst[i] = src[i·stride] for i < n, from f16 or bf16 to f32 and back, rounded to nearest, halves to even. Serial.
  void (*widen)(void const* src, int64_t stride, Dtype from, float* dst, int64_t n);
  void (*narrow)(float const* src, void* dst, Dtype to, int64_t n);
  /// Both contiguous: C++'s conversion; to boolean: x != 0 (NaN is true). Out-of-range floats to integers are
  /// unspecified.
  void (*cast)(void const* src, Dtype from, void* dst, Dtype to, int64_t n);
};

}  // namespace heed

HEED_KERNELS(CopyKernels, copy_kernels)
