// Operands stored in 16 bits, computed in f32.
#pragma once

#include <heed/engine/autocast.h>
#include <heed/engine/tensor.h>

namespace heed {

/// x in f32; an undefined operand stays so.
inline Tensor widened(Tensor const& x) { return x.defined() ? x.to(Dtype::f32) : x; }

/// f(operands in f32), without autocast, which would narrow them again: how products take 16-bit operands.
template <class F, class... Operands>
auto product_in_f32(F const& f, Operands const&... operands) {
  AutocastOff const off;
  return f(widened(operands)...);
}

/// f(x in f32) back in x's type.
template <class F>
Tensor through_f32(Tensor const& x, F const& f) {
  return f(x.to(Dtype::f32)).to(x.dtype());
}

}  // namespace heed
