// What a block of threads does with a tile of scores, on a device: products, who sees whom, recorded modifications,
// dropout, and weighted sums of rows.
#pragma once

#include <heed/engine/cuda/warp.h>
#include <heed/engine/ops/attend_scene.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace attention {

template <class T>
struct alignas(16) Four {
  T x[4];
};

template <class T>
__device__ inline bool odd_number(T x) {  // NaN or infinite
  return !(x - x == 0);
}
template <class T>
constexpr T nothing = T(-__builtin_huge_valf());

// ---- recorded programs: their registers lie in local memory, and calls keep them out of the way of what has none

/// Local registers of a program: the score, four neighbouring positions, and for a slope the gradient.
template <class T>
__device__ inline void place_inputs(T (&local)[program_locals][4], int64_t query, int64_t key) {
  for (int c = 0; c < 4; ++c) local[1][c] = T(query), local[2][c] = T(key + c);
}
template <class T>
__device__ inline void run_program(ProgramView<T> const& program, T (&local)[program_locals][4], T* shared) {
  run_steps<T>(program.steps + program.block_steps, program.count, local, shared, program.tables);
}

/// What the block shares of a program in head (b, h).
template <class T>
HEED_NOINLINE __device__ void begin_program(ProgramView<T> program, T* shared, int64_t b, int64_t h) {
  if (!program.steps) return;
  for (int i = 0; i < program.shared; ++i) shared[i] = program.start[i];
  shared[0] = T(b), shared[1] = T(h);
  T local[1][4] = {};
  run_steps<T>(program.steps, program.block_steps, local, shared, program.tables);
}

/// Of the bits 4r + c, those of queries query + r and keys key + c that the mask leaves.
template <class T>
HEED_NOINLINE __device__ uint32_t seen_by_program(ProgramView<T> program, T* shared, int64_t query, int64_t key,
                                                  uint32_t bits) {
  T local[program_locals][4];
  for (int r = 0; r < 4; ++r) {
    place_inputs(local, query + r, key);
    for (int c = 0; c < 4; ++c) local[0][c] = 0;
    run_program(program, local, shared);
    for (int c = 0; c < 4; ++c)
      if (program_operand<T>(program.outputs[0], local, shared, c) == 0) bits &= ~(1u << (4 * r + c));
  }
  return bits;
}

/// s[r][c] = program(s[r][c])
template <class T>
HEED_NOINLINE __device__ void modify(ProgramView<T> program, T* shared, int64_t query, int64_t key, T (*s)[4]) {
  T local[program_locals][4];
  for (int r = 0; r < 4; ++r) {
    place_inputs(local, query + r, key);
    for (int c = 0; c < 4; ++c) local[0][c] = s[r][c];
    run_program(program, local, shared);
    for (int c = 0; c < 4; ++c) s[r][c] = program_operand<T>(program.outputs[0], local, shared, c);
  }
}

template <class T, class S>
struct Block {
  static constexpr int tile = S::tile, pitch = S::pitch, side = S::side, threads = S::threads, depth = S::depth;
  Scene<T> const& a;
  int ty, tx;
  T* stage;       // two panels [depth][pitch], or [depth][columns]
  T* weights;     // [tile][pitch]
  uint8_t* seen;  // [rows][tile / 4]: 4 bits of 4 columns
  T* uniform[3];  // of the programs
  int b = 0, h = 0;
  uint32_t key[2];

  __device__ Block(Scene<T> const& scene, T* shared)
      : a(scene), ty(int(threadIdx.x) / side), tx(int(threadIdx.x) % side) {
    stage = shared;
    weights = stage + S::stage;
    seen = reinterpret_cast<uint8_t*>(weights + tile * pitch);
    uniform[0] = reinterpret_cast<T*>(seen + tile * side);
    uniform[1] = uniform[0] + scene.score.shared;
    uniform[2] = uniform[1] + scene.sees.shared;
  }

  /// What depends on the head alone.
  __device__ void begin_head(int64_t batch, int64_t head) {
    b = int(batch), h = int(head);
    if (a.threshold) {
      auto const words = attend_key(a.seed, a.offset, b, h);
      key[0] = words[0], key[1] = words[1];
    }
    if (!S::programs || !a.programs()) return;
    __syncthreads();
    if (threadIdx.x == 0) {
      begin_program(a.score, uniform[0], b, h);
      begin_program(a.sees, uniform[1], b, h);
      begin_program(a.slope, uniform[2], b, h);
    }
    __syncthreads();
  }

  /// to[p][row] = from[row][p] for `rows` rows and `left` columns; 0 elsewhere.
  __device__ void load_transposed(T* to, T const* from, int64_t row_step, int rows, int left, bool aligned) {
    // Two neighbours read 8 elements of a row; 16 rows at two depths fall into different banks.
    constexpr int stride = threads / (2 * tile) * 8;
    static_assert(threads % (2 * tile) == 0 && depth % stride == 0);
    int const row = int(threadIdx.x) / 2 % tile, first = int(threadIdx.x) % 2 * 4 + int(threadIdx.x) / (2 * tile) * 8;
    if (row >= rows) left = 0;
    T const* at = from + row * row_step + first;
    T* target = to + first * pitch + row;
    if (aligned) {
#pragma unroll 2
      for (int p = first; p < depth; p += stride, at += stride, target += stride * pitch) {
        Four<T> const x = p < left ? *reinterpret_cast<Four<T> const*>(at) : Four<T>{};
#pragma unroll
        for (int e = 0; e < 4; ++e) target[e * pitch] = x.x[e];
      }
    } else {
#pragma unroll 1
      for (int p = first; p < depth; p += stride, at += stride, target += stride * pitch)
#pragma unroll
        for (int e = 0; e < 4; ++e) target[e * pitch] = p + e < left ? at[e] : T(0);
    }
  }

  /// The rows of a tile, kept for many products: [width rounded up to depth][pitch].
  __device__ void keep(T* to, T const* from, int64_t row_step, int rows, int64_t width, bool aligned) {
    for (int64_t p = 0; p < width; p += depth)
      load_transposed(to + p * pitch, from + p, row_step, rows, clipped(width - p), aligned);
  }
  static __device__ int clipped(int64_t x) { return x < depth ? int(x) : depth; }

  /// s[r][c] = Σ_p x[4·ty + r][p]·y[4·tx + c][p]; x may have been kept.
  __device__ void products(T (&s)[4][4], T const* kept, T const* x, int64_t x_row, int x_rows, bool x_aligned,
                           T const* y, int64_t y_row, int y_rows, bool y_aligned, int64_t width) {
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int c = 0; c < 4; ++c) s[r][c] = 0;
#pragma unroll 1
    for (int64_t p = 0; p < width; p += depth) {
      int const left = clipped(width - p);
      __syncthreads();
      if (!kept) load_transposed(stage, x + p, x_row, x_rows, left, x_aligned);
      load_transposed(stage + depth * pitch, y + p, y_row, y_rows, left, y_aligned);
      __syncthreads();
      T const* const tx_panel = stage + depth * pitch + tx * 4;
      T const* const ty_panel = (kept ? kept + p * pitch : stage) + ty * 4;
#pragma unroll 4
      for (int e = 0; e < left; ++e) {
        Four<T> const u = *reinterpret_cast<Four<T> const*>(ty_panel + e * pitch);
        Four<T> const w = *reinterpret_cast<Four<T> const*>(tx_panel + e * pitch);
#pragma unroll
        for (int r = 0; r < 4; ++r)
#pragma unroll
          for (int c = 0; c < 4; ++c) s[r][c] += u.x[r] * w.x[c];
      }
    }
  }

  /// stage[line][c] = from[line][c] for lines and columns that there are, and whose norm is not −∞; 0 elsewhere.
  /// Whether this thread has met a NaN or Inf.
  __device__ bool load_lines(T const* from, int64_t row_step, int lines, int64_t columns_left, bool aligned,
                             T const* norms) {
    constexpr int across = S::columns / 4, stride = threads / across;
    static_assert(threads % across == 0 && depth % stride == 0);
    int const c = int(threadIdx.x) % across * 4, first = int(threadIdx.x) / across;
    int const left = columns_left - c < 4 ? int(columns_left - c) : 4;
    T const* at = from + first * row_step + c;
    T* target = stage + first * S::columns + c;
    bool odd = false;
#pragma unroll 2
    for (int line = first; line < depth; line += stride, at += stride * row_step, target += stride * S::columns) {
      bool const there = line < lines && left > 0 && !(norms && norms[line] == nothing<T>);
      Four<T> x{};
      if (there) {
        if (aligned) {
          x = *reinterpret_cast<Four<T> const*>(at);
        } else {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            if (e < left) x.x[e] = at[e];
        }
      }
      odd |= odd_number(x.x[0]) || odd_number(x.x[1]) || odd_number(x.x[2]) || odd_number(x.x[3]);
      *reinterpret_cast<Four<T>*>(target) = x;
    }
    return odd;
  }

  /// to[r][c] += Σ_k weights[k][4·ty + r]·x[k][column + …]. Where `guarded`, a NaN or Inf in x meets only what is seen.
  /// Rows k with norms[k] = −∞ count as 0.
  __device__ void add_weighted(T (&to)[4][S::groups * 4], T const* x, int64_t x_row, int rows, int64_t columns_left,
                               bool aligned, bool guarded, T const* norms) {
#pragma unroll 1
    for (int k = 0; k < rows; k += depth) {
      __syncthreads();
      bool const odd = load_lines(x + k * x_row, x_row, rows - k, columns_left, aligned, norms ? norms + k : nullptr);
      bool const careful = __syncthreads_or(guarded && odd);
      int const count = clipped(rows - k);
      if (!careful) {
#pragma unroll 4
        for (int e = 0; e < count; ++e) {
          Four<T> const w = *reinterpret_cast<Four<T> const*>(weights + (k + e) * pitch + ty * 4);
#pragma unroll
          for (int g = 0; g < S::groups; ++g) {
            Four<T> const y = *reinterpret_cast<Four<T> const*>(stage + e * S::columns + g * tile + tx * 4);
#pragma unroll
            for (int r = 0; r < 4; ++r)
#pragma unroll
              for (int c = 0; c < 4; ++c) to[r][g * 4 + c] += w.x[r] * y.x[c];
          }
        }
      } else {
#pragma unroll 1
        for (int e = 0; e < count; ++e)
#pragma unroll
          for (int r = 0; r < 4; ++r) {
            if (!(seen[(ty * 4 + r) * side + (k + e) / 4] >> (k + e) % 4 & 1)) continue;
            T const w = weights[(k + e) * pitch + ty * 4 + r];
#pragma unroll
            for (int g = 0; g < S::groups; ++g)
#pragma unroll
              for (int c = 0; c < 4; ++c) to[r][g * 4 + c] += w * stage[e * S::columns + g * tile + tx * 4 + c];
          }
      }
    }
  }

  /// Writes this thread's part of the weights: [column][row] or, by_rows, [row][column].
  template <bool by_rows>
  __device__ void put_weights(T const (&s)[4][4]) {
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      Four<T> line;
#pragma unroll
      for (int e = 0; e < 4; ++e) line.x[e] = by_rows ? s[u][e] : s[e][u];
      T* const to = by_rows ? weights + (ty * 4 + u) * pitch + tx * 4 : weights + (tx * 4 + u) * pitch + ty * 4;
      *reinterpret_cast<Four<T>*>(to) = line;
    }
  }

  /// Bit 4r + c: query i + 4·ty + r sees key j + 4·tx + c. `full`: all that exist do.
  __device__ uint32_t visible(int64_t i, int queries, int64_t j, int keys, bool full) {
    // Of column − row, in numbers that are small.
    int const low = full ? -tile : within_tile(a.shift_low + i - j),
              high = full ? tile : within_tile(a.shift_high + i - j);
    uint8_t const* mask = full || !a.mask ? nullptr
                                          : a.mask + b * a.mask_batch + h * a.mask_head + (i + ty * 4) * a.mask_row +
                                                (j + tx * 4) * a.mask_col;
    uint32_t bits = 0;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      int const row = ty * 4 + r;
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        int const column = tx * 4 + c;
        bool const sees = row < queries && column < keys && column - row >= low && column - row <= high;
        bits |= uint32_t(sees) << (4 * r + c);
      }
    }
    if (mask) {
#pragma unroll 1
      for (int x = 0; x < 16; ++x)
        if (bits >> x & 1 && mask[x / 4 * a.mask_row + x % 4 * a.mask_col] == 0) bits &= ~(1u << x);
    }
    if (S::programs && !full && a.sees.steps && bits)
      bits = seen_by_program(a.sees, uniform[1], i + ty * 4 + a.tk - a.tq, j + tx * 4, bits);
    return bits;
  }
  static __device__ int within_tile(int64_t x) { return x < -tile ? -tile : x > tile ? tile : int(x); }
  __device__ void put_seen(uint32_t bits) {
#pragma unroll
    for (int r = 0; r < 4; ++r) seen[(ty * 4 + r) * side + tx] = uint8_t(bits >> 4 * r & 15);
  }

  /// The scores of queries from i and keys from j on, before the softmax. Where there is a program, raw (if it is not
  /// null) takes what they were before it.
  __device__ void scores(T (&s)[4][4], T (*raw)[4], T const* kept, T const* q, int64_t i, int queries, int64_t j,
                         int keys) {
    products(s, kept, q, a.q.row, queries, a.q.aligned, a.row(a.k, b, a.key_head(h), j), a.k.row, keys, a.k.aligned,
             a.d);
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int c = 0; c < 4; ++c) s[r][c] *= a.scale;
    if (!S::programs || !a.score.steps) return;
    T box[4][4];
    if (raw) copy(raw, s);
    copy(box, s);
    modify(a.score, uniform[0], i + ty * 4 + a.tk - a.tq, j + tx * 4, box);
    copy(s, box);
  }
  static __device__ void copy(T (*to)[4], T const (*from)[4]) {
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int c = 0; c < 4; ++c) to[r][c] = from[r][c];
  }

  /// Multiplier of weight (r, 0 … 3) under dropout: attend_keeps() of 4 neighbours.
  __device__ void dropout(T (&factor)[4], int64_t i, int64_t j) {
    uint64_t const query = uint64_t(i), group = uint64_t(j) >> 3;
    auto const words =
        philox4x32({uint32_t(query), uint32_t(query >> 32), uint32_t(group), uint32_t(group >> 32)}, {key[0], key[1]});
    bool const second = j & 4;
    uint32_t const low = second ? words[2] : words[0], high = second ? words[3] : words[1];
    factor[0] = (low & 0xFFFF) >= a.threshold ? a.kept : T(0);
    factor[1] = low >> 16 >= a.threshold ? a.kept : T(0);
    factor[2] = (high & 0xFFFF) >= a.threshold ? a.kept : T(0);
    factor[3] = high >> 16 >= a.threshold ? a.kept : T(0);
  }

  /// Whether window and mask may leave something of the tile at (i, j), and whether they leave all of it.
  __device__ bool window_empty(int64_t i, int queries, int64_t j, int keys) const {
    return j + keys - 1 < i + a.shift_low || j > i + queries - 1 + a.shift_high;
  }
  __device__ bool window_full(int64_t i, int queries, int64_t j, int keys) const {
    return j >= i + queries - 1 + a.shift_low && j + keys - 1 <= i + a.shift_high && !a.mask;
  }
};

template <class T, class S>
size_t shared_bytes(Scene<T> const& a, int64_t kept_depth) {
  size_t const kept = size_t((kept_depth + S::depth - 1) / S::depth * S::depth * S::pitch);
  size_t const programs = size_t(a.score.shared + a.sees.shared + a.slope.shared);
  return (kept + size_t(S::stage) + size_t(S::tile * S::pitch) + programs) * sizeof(T) + size_t(S::tile * S::side);
}

/// The key tiles of a query tile, in order.
struct Walk {
  TilePattern::Tile const* list = nullptr;
  int first = 0, count = 0, ratio = 1;

  template <class T>
  __device__ Walk(Scene<T> const& a, int64_t b, int64_t h, int64_t i, int queries, int tile) {
    if (a.list) {
      int64_t const row = a.pattern_row(b, h, i / (int64_t(tile) * a.ratio));
      list = a.list + a.begin[row], ratio = a.ratio;
      count = int(a.begin[row + 1] - a.begin[row]) * ratio;
      return;
    }
    int64_t const low = i + a.shift_low, high = i + queries - 1 + a.shift_high;
    int64_t const last = high < a.tk - 1 ? high : a.tk - 1;
    first = low > 0 ? int(low / tile) : 0;
    count = last >= int64_t(first) * tile ? int(last / tile) - first + 1 : 0;
  }
  __device__ int block(int n) const { return list ? list[n / ratio].key_block * ratio + n % ratio : first + n; }
  __device__ bool full(int n, bool otherwise) const { return list ? list[n / ratio].full : otherwise; }
};

/// A tile of queries of one head, and what its block does with the tiles of keys that they see.
template <class T, class S>
struct QueryTile {
  static constexpr int tile = S::tile;
  Scene<T> const& a;
  bool resident;  // the queries stay in shared memory
  T* kept;
  Block<T, S> block;
  int head;
  int64_t i;
  int queries;
  T const* q;
  Walk walk;

  /// Number `id` of a row of tiles, all heads of the last tile first: under a causal mask those are the longest.
  __device__ QueryTile(Scene<T> const& scene, T* shared, int64_t id, int64_t query_tiles, int64_t heads)
      : a(scene),
        resident(a.d <= S::most_resident),
        kept(resident ? shared : nullptr),
        block(a, shared + (resident ? (a.d + S::depth - 1) / S::depth * S::depth * S::pitch : 0)),
        head(int(id % heads)),
        i((query_tiles - 1 - id / heads) * tile),
        queries(a.tq - i < tile ? int(a.tq - i) : tile),
        q(a.q.at + head / a.heads * a.q.batch + head % a.heads * a.q.head + i * a.q.row),
        walk(a, head / a.heads, head % a.heads, i, queries, tile) {
    block.begin_head(head / a.heads, head % a.heads);
    if (resident) block.keep(shared, q, a.q.row, queries, a.d, a.q.aligned);
  }

  /// f(j, keys, full, bits) for the tiles of keys of which something is seen, of [first, end) of the walk.
  template <class F>
  __device__ void each(int first, int end, F const& f) {
#pragma unroll 1
    for (int n = first; n < end; ++n) {
      int64_t const j = int64_t(walk.block(n)) * tile;
      if (j >= a.tk) continue;
      int const keys = a.tk - j < tile ? int(a.tk - j) : tile;
      if (block.window_empty(i, queries, j, keys)) continue;
      bool const full = walk.full(n, !a.sees.steps) && block.window_full(i, queries, j, keys);
      uint32_t const bits = block.visible(i, queries, j, keys, full);
      if (full || __syncthreads_or(bits != 0)) f(j, keys, full, bits);
    }
  }
};

/// Where key tile `block` stands in the list of a query tile: 0 nowhere, 1 partial, 2 full.
template <class T>
__device__ inline int listed(Scene<T> const& a, int64_t b, int64_t h, int64_t query_tile, int64_t key_tile) {
  int64_t const row = a.pattern_row(b, h, query_tile / a.ratio), wanted = key_tile / a.ratio;
  int64_t low = a.begin[row], high = a.begin[row + 1];
  while (low < high) {
    int64_t const middle = (low + high) / 2;
    if (a.list[middle].key_block < wanted)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == a.begin[row + 1] || a.list[low].key_block != wanted) return 0;
  return a.list[low].full ? 2 : 1;
}

/// A tile of keys, and what its block does with the tiles of queries that see something of it.
template <class T, class S>
struct KeyTile {
  static constexpr int tile = S::tile;
  Scene<T> const& a;
  Block<T, S> block;
  int64_t key_tile, j;
  int keys;

  __device__ KeyTile(Scene<T> const& scene, T* shared, int64_t number)
      : a(scene),
        block(a, shared),
        key_tile(number),
        j(key_tile * tile),
        keys(a.tk - j < tile ? int(a.tk - j) : tile) {}

  /// f(q, i, queries, bits) for those of head (b, h).
  template <class F>
  __device__ void each(int64_t b, int64_t h, F const& f) {
    int64_t const low = j - a.shift_high, high = j + keys - 1 - a.shift_low;
    int64_t const last = high < a.tq - 1 ? high : a.tq - 1;
    block.begin_head(b, h);
#pragma unroll 1
    for (int64_t i = (low > 0 ? low / tile : 0) * tile; i <= last; i += tile) {
      int const queries = a.tq - i < tile ? int(a.tq - i) : tile;
      int const found = a.list ? listed(a, b, h, i / tile, key_tile) : a.sees.steps ? 1 : 2;
      if (found == 0 || block.window_empty(i, queries, j, keys)) continue;
      bool const full = found == 2 && block.window_full(i, queries, j, keys);
      uint32_t const bits = block.visible(i, queries, j, keys, full);
      if (full || __syncthreads_or(bits != 0)) f(a.q.at + b * a.q.batch + h * a.q.head + i * a.q.row, i, queries, bits);
    }
  }
};

}  // namespace attention
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
