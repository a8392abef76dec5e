// The attention core: O = dropout(softmax(scale·Q·Kᵀ + mask))·V by tiles with an online softmax, in O(T) memory.
// Online softmax: Milakov & Gimelshein 2018; tiling and recomputation: Dao et al., "FlashAttention" 2022.
#pragma once

#include <heed/engine/isa.h>
#include <heed/engine/ops/score.h>
#include <heed/engine/random.h>

#include <array>
#include <cstdint>

namespace heed {

/// Element strides of a [B, H, T, D] operand; the last axis is contiguous.
struct AttendStrides {
  int64_t batch, head, row;
};

/// A recorded program over tiles, with inputs as in ModInput.
template <class T>
struct AttendMod {
  Program const* program = nullptr;
  ProgramTableView<T> const* tables = nullptr;
};

/// Where the gradient of one load's table is summed up: one copy for each of a fixed number of parts of the work.
struct AttendSink {
  static constexpr int64_t most_parts = 8;
  double* sum;  // [parts][numel]
  int64_t numel;
  int64_t size[3], stride[3];
};

/// Queries and keys of a tile. Queries are a multiple of 32 (two registers of 16), keys of 8 (one dropout counter).
struct Tiles {
  static constexpr int64_t most_queries = 96;
  int64_t queries, keys;
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
  /// Applied to scale·q·k before the softmax; with `direct` it gives the weights themselves, and there is no softmax.
  AttendMod<T> score = {};
  bool direct = false;
  /// Nonzero attends; `pattern` says, for tiles(), where it can be nonzero.
  AttendMod<T> sees = {};
  TilePattern const* pattern = nullptr;
  /// Where not null, key j of batch element b is row j % page of k's and v's batch element pages[b·page_count + j /
  /// page]; page is a multiple of 32.
  int64_t const* pages = nullptr;
  int64_t page = 0, page_count = 0;

  /// Keys and values from j on, as far as its page goes.
  T const* key(int64_t b, int64_t g, int64_t j) const {
    return k + place(b, j) * k_batch + g * k_head + (pages ? j % page : j) * k_row;
  }
  T const* value(int64_t b, int64_t g, int64_t j) const {
    return v + place(b, j) * v_batch + g * v_head + (pages ? j % page : j) * v_row;
  }

  /// The window as offsets of a key from a query, both counted in this call.
  int64_t shift_low() const { return tk - tq - clamped(left); }
  int64_t shift_high() const { return tk - tq + clamped(right); }
  /// Large tiles are faster. Small ones waste less where a recorded mask cuts through them, and in short calls.
  Tiles tiles() const {
    int64_t const l = clamped(left), r = clamped(right);
    int64_t const reach = (l < tk ? l : tk) + (r < tk ? r : tk), longer = tq > tk ? tq : tk;
    int64_t const extent = reach < 1 ? 1 : reach < longer ? reach : longer;
    if (pages) return page % 64 == 0 ? Tiles{64, 64} : Tiles{32, 32};
    if (extent <= 64) return {32, 32};
    if (sees.program) return extent <= 256 ? Tiles{32, 32} : Tiles{64, 64};
    return extent <= 128 || longer <= 256 ? Tiles{64, 64} : Tiles{96, 96};
  }

 private:
  int64_t place(int64_t b, int64_t j) const { return pages ? pages[b * page_count + j / page] : b; }
  int64_t clamped(int64_t count) const {
    int64_t const limit = tq + tk;
    return count > limit ? limit : count < -limit ? -limit : count;
  }
};

/// out [B,H,Tq,dv] and lse [B,H,Tq] (null where weights are direct) as the forward pass wrote them; gradients are
/// overwritten.
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
  /// Of the score's program: Program::read_gradient, one sink for each load that it gives.
  AttendMod<T> slope = {};
  AttendSink const* sinks = nullptr;
  int sink_count = 0;
};

/// How many parts the backward pass sums tables in: by shape.
inline int64_t attend_parts(int64_t tasks) { return tasks < AttendSink::most_parts ? tasks : AttendSink::most_parts; }

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
  /// lse_i = log Σ_j exp(s_ij), out_i = Σ_j exp(s_ij − lse_i)·v_j; a row that sees no key: out 0, lse −∞. Direct:
  /// out_i = Σ_j s_ij·v_j, and lse is null.
  void (*forward)(AttendArgs<T> const&, T* out, AttendStrides, T* lse);
  /// dS = P∘(dP − Σ_j out·dout + dlse); bits do not depend on the number of threads.
  void (*backward)(AttendArgs<T> const&, AttendGradArgs<T> const&);
};

struct AttendKernels : PerType<AttendTable> {};

enum class RowThreshold {
  entmax,        // τ with Σ_j max((α − 1)·s_j − τ, 0)^(1/(α−1)) = 1; +∞ where nothing is seen
  largest,       // the k-th largest score; −∞ where fewer than k are seen
  below_largest  // half way from there to the next lower score
};

/// Over the pairs that are seen, with the scores that args.score makes; v is not read.
template <class T>
struct AttendRowsTable {
  /// [B, H, T]: Σ_j s_ij; over_queries, [B, H, S]: Σ_i s_ij.
  void (*sum)(AttendArgs<T> const&, bool over_queries, T* sums);
  /// From g, shaped as the sums: gradients of q and k and, into the sinks, of tables.
  void (*sum_backward)(AttendArgs<T> const&, bool over_queries, T const* g, AttendGradArgs<T> const&);
  /// [B, H, T]; `parameter` is α or k.
  void (*threshold)(AttendArgs<T> const&, RowThreshold kind, double parameter, T* threshold);
};
struct AttendRowsKernels : PerType<AttendRowsTable> {};

}  // namespace heed

HEED_KERNELS(AttendKernels, attend_kernels)
HEED_KERNELS(AttendRowsKernels, attend_rows_kernels)
