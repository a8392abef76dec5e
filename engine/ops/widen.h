// Operands stored in 16 bits, computed in f32.
#pragma once

#include <heed/engine/tensor.h>

namespace heed {

/// x in f32; an undefined operand stays so.
inline Tensor widened(Tensor const& x) { return x.defined() ? x.to(Dtype::f32) : x; }

/// f(x in f32) back in x's type.
template <class F>
Tensor through_f32(Tensor const& x, F const& f) {
  return f(x.to(Dtype::f32)).to(x.dtype());
}

}  // namespace heed
