// Elements of any type as unsigned keys of the same order, as an accelerator's kernels read them: one branch, the same
// in all threads, replaces a kernel for each type.
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/dtype.h>

#include <cstdint>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

template <class Bits>
__device__ inline Bits ordered(Bits bits, bool floating) {
  constexpr Bits top = Bits{1} << (8 * sizeof(Bits) - 1);
  if (!floating) return Bits(bits ^ top);
  constexpr Bits infinite = Bits(sizeof(Bits) == 4 ? uint64_t{0x7f800000} : uint64_t{0x7ff} << 52);
  if (Bits(bits & ~top) > infinite) return Bits(~Bits{0});
  if (bits == top) bits = 0;  // −0
  return Bits(bits & top ? ~bits : bits | top);
}

/// Equal for equal elements, ordered as they are, all ones for NaN; in the low bits of the key. Of i64 in a 32-bit key
/// the number itself.
template <class Key>
__device__ inline Key key_of(void const* x, Dtype dtype, int64_t at) {
  switch (dtype) {
    case Dtype::f64:
      if constexpr (sizeof(Key) == 8) return ordered(static_cast<uint64_t const*>(x)[at], true);
      return 0;
    case Dtype::i64:
      if constexpr (sizeof(Key) == 8) return ordered(static_cast<uint64_t const*>(x)[at], false);
      return Key(static_cast<uint64_t const*>(x)[at]);
    case Dtype::f32:
      return ordered(static_cast<uint32_t const*>(x)[at], true);
    case Dtype::i32:
      return ordered(static_cast<uint32_t const*>(x)[at], false);
    case Dtype::i16:
      return ordered(static_cast<uint16_t const*>(x)[at], false);
    case Dtype::i8:
      return ordered(static_cast<uint8_t const*>(x)[at], false);
    default:
      return static_cast<uint8_t const*>(x)[at];
  }
}

__device__ inline bool is_nan_key(uint64_t key, Dtype dtype) {
  return dtype == Dtype::f32 ? key == 0xffffffffu : dtype == Dtype::f64 && key == ~uint64_t{0};
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
