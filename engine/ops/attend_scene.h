// What the files of attention on a device share: the problem as kernels read it, how it gets there, and the launches
// that stand in files of their own.
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/program_threads.h>

#include <optional>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace attention {

template <class T>
struct Rows {  // of a [B, H, T, D] operand
  T* at;
  int64_t batch, head, row;
  bool aligned;  // whole groups of 4, which may be read at once
};

/// AttendArgs with what a kernel needs to know besides.
template <class T>
struct Scene {
  int64_t heads, kv_heads, tq, tk, d, dv;
  Rows<T const> q, k, v;
  T scale;
  int64_t shift_low, shift_high;
  uint8_t const* mask;
  int64_t mask_batch, mask_head, mask_row, mask_col;
  uint32_t threshold;
  T kept;
  uint64_t seed, offset;
  bool direct;
  int64_t const* pages;
  int64_t page, page_count;
  // The pattern: lists of tiles that are `ratio` times as large as a block's.
  TilePattern::Tile const* list;
  int64_t const* begin;
  int64_t pattern_batches, pattern_heads, pattern_blocks;
  int ratio;
  ProgramView<T> score, sees, slope;

  __device__ bool programs() const { return score.steps || sees.steps; }
  __device__ int64_t key_head(int64_t h) const { return h * kv_heads / heads; }
  __device__ int64_t place(int64_t b, int64_t j) const { return pages ? pages[b * page_count + j / page] : b; }
  __device__ T const* row(Rows<T const> const& x, int64_t b, int64_t g, int64_t j) const {
    return x.at + place(b, j) * x.batch + g * x.head + (pages ? j % page : j) * x.row;
  }
  __device__ int64_t pattern_row(int64_t b, int64_t h, int64_t block) const {
    return ((pattern_batches > 1 ? b : 0) * pattern_heads + (pattern_heads > 1 ? h : 0)) * pattern_blocks + block;
  }
};

/// Where tables' gradients go: they are added up as integers, in units that the largest of them sets, so that any order
/// gives the same bits.
struct TableSums {
  AttendSink const* sinks;
  int count;
  unsigned long long* peaks;  // bits of the largest |slope| as a double, for each sink
  unsigned long long* const* sums;
  int spare_bits;  // of 62, for the number of terms
  enum Pass : int { none, measure, add } pass;
};

/// Gradients, and what they are made of.
template <class T>
struct Slopes {
  Rows<T const> dout;
  T const* lse;
  T const* delta;  // [B, H, Tq]: Σ out·dout − dlse
  Rows<T> dq, dk, dv;
  /// Of sums of scores, where not null: the gradient [B, H, Tq] of the sums over keys, or [B, H, Tk] of those over
  /// queries; it takes the place of dout.
  T const* sums_slope;
  bool over_queries;
  TableSums tables;
};

/// A block of (tile/4)² threads, each with 4 queries (rows) × 4 keys (columns) of a tile, and in results with 4 rows ×
/// 4 columns of every group of `tile` columns.
template <class T, int tile_, int columns_>
struct Shape {
  static constexpr int tile = tile_, columns = columns_;
  static constexpr bool programs = tile == 32;  // whether it runs them: calls cost registers
  static constexpr int side = tile / 4, threads = side * side, pitch = tile + 4, depth = 32;
  static constexpr int groups = columns / tile;
  static constexpr int stage = 2 * depth * pitch > depth* columns ? 2 * depth* pitch : depth* columns;
  static constexpr int most_resident = 128;  // depth up to which the rows of the own tile stay in shared memory
  // That a multiprocessor should hold at a time; the gradients of keys need registers for two results.
  static constexpr int blocks = columns > 64 ? 1 : tile == 64 ? 2 : 4;
  static constexpr int key_blocks = tile == 64 ? 1 : 4;
  static_assert(side <= 32 && 32 % side == 0);
};

// ---- host

template <class T>
Rows<T> rows(T* at, int64_t width, int64_t batch, int64_t head, int64_t row) {
  bool const aligned =
      width % 4 == 0 && reinterpret_cast<uintptr_t>(at) % 16 == 0 && batch % 4 == 0 && head % 4 == 0 && row % 4 == 0;
  return {at, batch, head, row, aligned};
}
template <class T>
Rows<T> rows(T* at, int64_t width, AttendStrides const& s) {
  return rows(at, width, s.batch, s.head, s.row);
}

/// The scene, with programs and pattern in device memory for as long as it lives.
template <class T>
struct Staged {
  Scene<T> scene{};
  int tile;
  std::optional<DeviceScratch<unsigned char>> memory;

  explicit Staged(AttendArgs<T> const& a, AttendMod<T> const& slope = {}) {
    Scene<T>& s = scene;
    bool const mods = a.score.program || a.sees.program;
    int64_t const pattern_tile = a.tiles().queries;
    tile = !mods && sizeof(T) == 4 && pattern_tile >= 64 ? 64 : 32;
    s.heads = a.heads, s.kv_heads = a.kv_heads, s.tq = a.tq, s.tk = a.tk, s.d = a.d, s.dv = a.dv;
    s.q = rows(a.q, a.d, a.q_batch, a.q_head, a.q_row);
    s.k = rows(a.k, a.d, a.k_batch, a.k_head, a.k_row);
    s.v = rows(a.v, a.dv, a.v_batch, a.v_head, a.v_row);
    s.scale = a.scale, s.shift_low = a.shift_low(), s.shift_high = a.shift_high();
    s.mask = a.mask, s.mask_batch = a.mask_batch, s.mask_head = a.mask_head;
    s.mask_row = a.mask_row, s.mask_col = a.mask_col;
    s.threshold = a.dropout > 0 ? attend_threshold(a.dropout) : 0;
    s.kept = T(65536. / (65536. - double(s.threshold)));
    s.seed = a.seed, s.offset = a.offset, s.direct = a.direct;
    s.pages = a.pages, s.page = a.page, s.page_count = a.page_count;
    s.ratio = 1;
    if (!mods && !a.pattern) return;

    DevicePacket packet;
    auto const pack = [&](AttendMod<T> const& mod) {
      return mod.program ? PackedProgram<T>(packet, *mod.program, mod.tables, mod_uniform) : PackedProgram<T>();
    };
    PackedProgram<T> const score = pack(a.score), sees = pack(a.sees), slopes = pack(slope);
    size_t list = 0, begin = 0;
    if (a.pattern) {
      list = packet.add(a.pattern->tiles.data(), a.pattern->tiles.size());
      begin = packet.add(a.pattern->begin.data(), a.pattern->begin.size());
    }
    memory.emplace(int64_t(packet.size()));
    packet.send(memory->data());
    if (a.score.program) s.score = score.view(memory->data());
    if (a.sees.program) s.sees = sees.view(memory->data());
    if (slope.program) s.slope = slopes.view(memory->data());
    if (a.pattern) {
      s.list = reinterpret_cast<TilePattern::Tile const*>(memory->data() + list);
      s.begin = reinterpret_cast<int64_t const*>(memory->data() + begin);
      s.pattern_batches = a.pattern->batches, s.pattern_heads = a.pattern->heads;
      s.pattern_blocks = a.pattern->query_blocks;
      s.ratio = int(pattern_tile / tile);
    }
  }
};

/// To which the queries stay in shared memory.
template <class T>
int64_t kept_depth(Scene<T> const& s) {
  return s.d <= 128 ? s.d : 0;
}

/// f(Shape) for the tiles of this scene and results of `columns`. f64 is for checks: one shape does.
template <class T, class F>
void with_shape(Staged<T> const& staged, int64_t columns, F const& f) {
  if constexpr (sizeof(T) == 8)
    f(Shape<T, 32, 32>{});
  else if (staged.tile == 32)
    f(Shape<T, 32, 64>{});
  else if (columns <= 64)
    f(Shape<T, 64, 64>{});
  else
    f(Shape<T, 64, 128>{});
}

/// Slopes with respect to queries, keys, values and the tables that scores read, from what `x` holds of them.
template <class T>
void all_gradients(AttendArgs<T> const& a, AttendGradArgs<T> const& g, Staged<T> const& staged, Slopes<T> x);

/// AttendRowsTable::threshold with scratch memory for at most `most_scores`, or one tile of queries.
template <class T>
void row_thresholds(AttendArgs<T> const& a, RowThreshold kind, double parameter, T* threshold, int64_t most_scores);

}  // namespace attention
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
