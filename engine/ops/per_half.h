// Kernels for operands of 16 bits.
#pragma once

#include <heed/engine/half.h>

#include <type_traits>

namespace heed {

/// As PerType (isa.h).
template <template <class> class Part>
struct PerHalf {
  Part<float16> f16;
  Part<bfloat16> bf16;
  template <class E>
  constexpr Part<E> const& of() const {
    if constexpr (std::is_same_v<E, float16>)
      return f16;
    else
      return bf16;
  }
};

}  // namespace heed
