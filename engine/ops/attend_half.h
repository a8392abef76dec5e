// attend() of 16-bit operands on an accelerator's matrix units: a softmax over a window, nothing else.
#pragma once

#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/per_half.h>

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

struct AttendHalfKernels : PerHalf<AttendHalfTable> {};

inline char const* kernels_name(AttendHalfKernels const*) { return "attend_half_kernels"; }

}  // namespace heed
