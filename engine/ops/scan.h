// The recurrence core: S_t = D_t∘S_{t−1} + a_t(b_tᵀS_{t−1}) + k_t·v_tᵀ, o_t = S_tᵀq_t, step by step or by chunks of
// steps, in O(T). Chunks of linear attention: Hua et al. 2022, Sun et al. 2023; gated: Yang et al. 2023; of products of
// I + a·bᵀ: Yang et al. 2024. Factors between two steps are products of the decays between them, never quotients.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// Rows [B, H', T, n] of an operand with H' = H/group heads, by element strides; a row is contiguous. Null: there is
/// none.
template <class T>
struct ScanRows {
  T* data = nullptr;
  int64_t batch = 0, head = 0, row = 0, group = 1;
  constexpr T* at(int64_t b, int64_t h) const { return data ? data + b * batch + h / group * head : nullptr; }
};

/// No size is 0. q, k, a, b [.., D], v [.., E], the logs of D_t [.., D] where `channels`, else [.., 1]. a and b come
/// together.
template <class T>
struct ScanArgs {
  static constexpr int64_t lanes = 16;        // heads of a part `by lanes` are a multiple of it, but the last's
  static constexpr int64_t lane_columns = 4;  // the largest E by lanes
  int64_t batch, heads, steps, d, e;
  int64_t chunk;   // steps of a chunk, at most `steps`
  int64_t splits;  // parts that the columns of a state are cut into; of each, nothing but its sums meets the others
  T scale;         // of q
  bool inclusive;  // o_t reads S_t, else S_{t−1}
  bool channels;
  ScanRows<T const> q, k, v, decay, a, b;
  T const* initial;  // [B, H, D, E]; null: 0
  // By lanes only: log D_t is decay_t·rates, [H, D]; null: decay_t.
  T const* rates;
};

/// How steps follow one another: as the recurrence is written, by chunks of them, or neighbouring heads side by side,
/// which takes narrow states without a and b: v has all heads, q, k and decay all or one, and `splits` are parts of the
/// heads.
enum class ScanWay { steps, chunks, lanes };

/// Gradients, overwritten. Part p of dq, dk, ddecay, da, db lies p·part elements on; the parts' sum is the gradient. By
/// lanes only what heads share has parts, with one head, and null gradients are left out.
template <class T>
struct ScanGradArgs {
  T const* states;         // as forward wrote them
  ScanRows<T const> dout;  // null: 0
  T const* dstate;         // [B, H, D, E]; null: 0
  ScanRows<T> dq, dk, dv, ddecay, da, db;
  int64_t part;
  int64_t decay_part;
  T* dinitial;  // [B, H, D, E]
  T* drates;    // [B, H, D], if there are rates
};

/// Bits do not depend on the number of threads.
template <class T>
struct ScanTable {
  /// `states` takes the state before each chunk, where it is not null: [B, H, ⌈T/chunk⌉, D, E], or by lanes as the
  /// kernel likes. Backward is by chunks unless it is by lanes.
  void (*forward)(ScanArgs<T> const&, ScanRows<T> out, T* state, T* states, ScanWay);
  void (*backward)(ScanArgs<T> const&, ScanGradArgs<T> const&, ScanWay);
};

struct ScanKernels : PerType<ScanTable> {};

}  // namespace heed

HEED_KERNELS(ScanKernels, scan_kernels)
