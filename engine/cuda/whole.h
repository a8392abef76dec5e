// Integers and bools as an accelerator's kernels read them: i64, whatever is stored. One branch, the same in all
// threads, replaces a kernel for each type.
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/dtype.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

__device__ inline int64_t load_whole(void const* from, Dtype dtype, int64_t i) {
  switch (dtype) {
    case Dtype::i8:
      return static_cast<int8_t const*>(from)[i];
    case Dtype::i16:
      return static_cast<int16_t const*>(from)[i];
    case Dtype::i32:
      return static_cast<int32_t const*>(from)[i];
    case Dtype::i64:
      return static_cast<int64_t const*>(from)[i];
    default:
      return static_cast<uint8_t const*>(from)[i];
  }
}

/// Modulo the type's width; of bool whether it is not 0.
__device__ inline void store_whole(int64_t value, void* to, Dtype dtype, int64_t i) {
  switch (dtype) {
    case Dtype::boolean:
      static_cast<uint8_t*>(to)[i] = value != 0;
      break;
    case Dtype::i16:
      static_cast<int16_t*>(to)[i] = int16_t(value);
      break;
    case Dtype::i32:
      static_cast<int32_t*>(to)[i] = int32_t(value);
      break;
    case Dtype::i64:
      static_cast<int64_t*>(to)[i] = value;
      break;
    default:
      static_cast<uint8_t*>(to)[i] = uint8_t(value);
  }
}

/// Whether element i of any type counts as true: all but zeros, also −0, does.
__device__ inline bool load_truth(void const* from, Dtype dtype, int64_t i) {
  switch (dtype) {
    case Dtype::f16:
    case Dtype::bf16:
      return (static_cast<uint16_t const*>(from)[i] & 0x7fffu) != 0;
    case Dtype::f32:
      return static_cast<float const*>(from)[i] != 0;
    case Dtype::f64:
      return static_cast<double const*>(from)[i] != 0;
    default:
      return load_whole(from, dtype, i) != 0;
  }
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
