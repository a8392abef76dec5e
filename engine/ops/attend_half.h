// attend() of 16-bit operands on an accelerator's matrix units: a softmax over a window, nothing else.
#pragma once

#include <heed/engine/half.h>
#include <heed/engine/ops/attend.h>

namespace heed {

/// Shapes as in AttendArgs, with d = dv of 64 or 128; scale > 0. Addresses and strides are multiples of 16 bytes.
template <class E>
struct AttendHalfArgs {
  int64_t batch, heads, kv_heads, tq, tk, d;
  E const *q, *k, *v;
  AttendStrides q_strides, k_strides, v_strides;
  float scale;
  /// Key j is visible to query i iff i + shift_low <= j <= i + shift_high.
  int64_t shift_low, shift_high;
};

template <class E>
struct AttendHalfGradArgs {
  E const *out, *dout;
  AttendStrides out_strides, dout_strides;
  float const* lse;
  float const* dlse;  // may be null
  E *dq, *dk, *dv;
  AttendStrides dq_strides, dk_strides, dv_strides;
};

template <class E>
struct AttendHalfTable {
  /// lse [B, H, Tq]; weights are rounded to E before they meet V.
  void (*forward)(AttendHalfArgs<E> const&, E* out, AttendStrides, float* lse);
  void (*backward)(AttendHalfArgs<E> const&, AttendHalfGradArgs<E> const&);
};

struct AttendHalfKernels {
  AttendHalfTable<bfloat16> bf16;
  AttendHalfTable<float16> f16;
  template <class E>
  constexpr AttendHalfTable<E> const& of() const {
    if constexpr (std::is_same_v<E, bfloat16>)
      return bf16;
    else
      return f16;
  }
};

inline char const* kernels_name(AttendHalfKernels const*) { return "attend_half_kernels"; }

}  // namespace heed
