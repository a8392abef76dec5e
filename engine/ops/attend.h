// The attention core: O = dropout(softmax(scale·Q·Kᵀ + mask))·V by tiles with an online softmax, in O(T) memory.
// Online softmax: Milakov & Gimelshein 2018; tiling and recomputation: Dao et al., "FlashAttention" 2022.
#pragma once

#include <heed/engine/isa.h>
#include <heed/engine/random.h>

#include <array>
#include <cstdint>

namespace heed {

/// Element strides of a [B, H, T, D] operand; the last axis is contiguous.
struct AttendStrides {
  int64_t batch, head, row;
};

/// Shapes: q [B,H,Tq,d], k [B,G,Tk,d], v [B,G,Tk,dv]; head h reads key head ⌊h·G/H⌋ (G divides H).
template <class T>
struct AttendArgs {
  int64_t batch, heads, kv_heads, tq, tk, d, dv;
  T const* q;
  int64_t q_batch, q_head, q_row;
  T const* k;
  int64_t k_batch, k_head, k_row;
  T const* v;
  int64_t v_batch, v_head, v_row;
  T scale;
  /// Key j is visible to query i iff i + (Tk − Tq) − left <= j <= i + (Tk − Tq) + right; INT64_MAX: no limit.
  int64_t left = INT64_MAX, right = INT64_MAX;
  /// Where not null, nonzero attends. Element strides, 0 broadcasts.
  uint8_t const* mask = nullptr;
  int64_t mask_batch = 0, mask_head = 0, mask_row = 0, mask_col = 0;
  /// A weight survives with probability 1 − dropout (in steps of 1/65536) and is then divided by it. 0: off.
  double dropout = 0;
  uint64_t seed = 0, offset = 0;
};

/// out [B,H,Tq,dv] and lse [B,H,Tq] as the forward pass wrote them; gradients are overwritten.
template <class T>
struct AttendGradArgs {
  T const* out;
  AttendStrides out_strides;
  T const* lse;
  T const* dout;
  AttendStrides dout_strides;
  T const* dlse = nullptr;  // [B,H,Tq] contiguous, may be null
  T* dq;
  AttendStrides dq_strides;
  T* dk;
  AttendStrides dk_strides;
  T* dv;
  AttendStrides dv_strides;
};

/// Dropout: a weight survives iff its 16-bit draw >= this threshold; dropout < 1.
constexpr uint32_t attend_threshold(double dropout) { return uint32_t(dropout * 65536 + 0.5); }

/// The Philox key of head (b, h): words 0 and 1 of philox(counter {b, h, offset low, offset high}, key seed).
constexpr std::array<uint32_t, 2> attend_key(uint64_t seed, uint64_t offset, int64_t b, int64_t h) {
  auto const words = philox4x32({uint32_t(b), uint32_t(h), uint32_t(offset), uint32_t(offset >> 32)},
                                {uint32_t(seed), uint32_t(seed >> 32)});
  return {words[0], words[1]};
}

/// The keep rule. The draw of (i, j) is half j%2 (0: low) of word (j%8)/2 of
/// philox(counter {i low, i high, j/8 low, j/8 high}, attend_key(b, h)).
constexpr bool attend_keeps(uint64_t seed, uint64_t offset, int64_t b, int64_t h, int64_t i, int64_t j,
                            uint32_t threshold) {
  auto const words =
      philox4x32({uint32_t(i), uint32_t(uint64_t(i) >> 32), uint32_t(j >> 3), uint32_t(uint64_t(j) >> 35)},
                 attend_key(seed, offset, b, h));
  return ((words[(j & 7) >> 1] >> (16 * (j & 1))) & 0xFFFF) >= threshold;
}

template <class T>
struct AttendTable {
  /// lse_i = log Σ_j exp(s_ij), out_i = Σ_j exp(s_ij − lse_i)·v_j; a row that sees no key: out 0, lse −∞.
  void (*forward)(AttendArgs<T> const&, T* out, AttendStrides, T* lse);
  /// dS = P∘(dP − Σ_j out·dout + dlse); bits do not depend on the number of threads.
  void (*backward)(AttendArgs<T> const&, AttendGradArgs<T> const&);
};

struct AttendKernels : PerType<AttendTable> {};

}  // namespace heed

HEED_KERNELS(AttendKernels, attend_kernels)
