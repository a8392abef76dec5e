// Attention on a GPU, as in attend.simd.cpp: a block owns a tile of queries and walks over the tiles of keys that they
// see, with an online softmax; the backward pass computes scores again, once for dq (a block a query tile) and once for
// dk and dv (a block a key tile), so that nothing is added up by atomics.
#include <heed/engine/cuda/kernel.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/cuda/warp.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/program_threads.h>

#include <optional>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

template <class T>
struct alignas(16) Four {
  T x[4];
};

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

  __device__ int64_t key_head(int64_t h) const { return h * kv_heads / heads; }
  __device__ int64_t place(int64_t b, int64_t j) const { return pages ? pages[b * page_count + j / page] : b; }
  __device__ T const* row(Rows<T const> const& x, int64_t b, int64_t g, int64_t j) const {
    return x.at + place(b, j) * x.batch + g * x.head + (pages ? j % page : j) * x.row;
  }
  __device__ int64_t pattern_row(int64_t b, int64_t h, int64_t block) const {
    return ((pattern_batches > 1 ? b : 0) * pattern_heads + (pattern_heads > 1 ? h : 0)) * pattern_blocks + block;
  }
};

/// Gradients, and what they are made of.
template <class T>
struct Slopes {
  Rows<T const> dout;
  T const* lse;
  T const* delta;  // [B, H, Tq]: Σ out·dout − dlse
  Rows<T> dq, dk, dv;
  AttendSink const* sinks;
  int sink_count;
  // Tables' gradients are added up as integers, in units that the largest of them sets: in any order the same bits.
  unsigned long long* peaks;  // bits of the largest |slope| as a double, for each sink
  unsigned long long* const* sums;
  int spare_bits;  // of 62, for the number of terms
  enum Pass : int { whole, measure, add } pass;
};

template <class T>
__device__ inline bool odd_number(T x) {  // NaN or infinite
  return !(x - x == 0);
}
template <class T>
constexpr T nothing = T(-__builtin_huge_valf());

/// A block of (tile/4)² threads, each with 4 queries (rows) × 4 keys (columns) of a tile, and in results with 4 rows ×
/// 4 columns of every group of `tile` columns.
template <class T, int tile_, int columns_, bool mods_>
struct Shape {
  static constexpr int tile = tile_, columns = columns_;
  static constexpr bool mods = mods_;
  static constexpr int side = tile / 4, threads = side * side, pitch = tile + 4, depth = 32;
  static constexpr int groups = columns / tile;
  static constexpr int stage = 2 * depth * pitch > depth* columns ? 2 * depth* pitch : depth* columns;
  static constexpr int most_resident = 128;  // depth up to which the rows of the own tile stay in shared memory
  // That a multiprocessor should hold at a time; the gradients of keys need registers for two results.
  static constexpr int blocks = columns > 64 ? 1 : tile == 64 ? 2 : sizeof(T) == 4 ? 5 : 4;
  static constexpr int key_blocks = tile == 64 ? 1 : 4;
  static_assert(side <= 32 && 32 % side == 0);
};

template <class T, class S>
struct Block {
  static constexpr int tile = S::tile, pitch = S::pitch, side = S::side, threads = S::threads, depth = S::depth;
  Scene<T> const& a;
  int ty, tx;
  T* stage;       // two panels [depth][pitch], or [depth][columns]
  T* weights;     // [tile][pitch]
  uint8_t* seen;  // [rows][tile / 4]: 4 bits of 4 columns
  T* uniform[3];  // of the programs
  int64_t b = 0, h = 0;
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
    b = batch, h = head;
    if (a.threshold) {
      auto const words = attend_key(a.seed, a.offset, b, h);
      key[0] = words[0], key[1] = words[1];
    }
    if constexpr (S::mods) {
      __syncthreads();
      if (threadIdx.x == 0) {
        begin_program(a.score, uniform[0]);
        begin_program(a.sees, uniform[1]);
        begin_program(a.slope, uniform[2]);
      }
      __syncthreads();
    }
  }
  __device__ void begin_program(ProgramView<T> const& program, T* to) {
    if (!program.steps) return;
    for (int i = 0; i < program.shared; ++i) to[i] = program.start[i];
    to[0] = T(b), to[1] = T(h);
    T local[1][4] = {};
    run_steps<T>(program.steps, program.block_steps, local, to, program.tables);
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
    if constexpr (S::mods)
      if (!full && a.sees.steps && bits) {
        T local[program_locals][4];
#pragma unroll 1
        for (int r = 0; r < 4; ++r) {
          place_inputs(local, i + ty * 4 + r, j + tx * 4);
          for (int c = 0; c < 4; ++c) local[0][c] = 0;
          run_program(a.sees, local, uniform[1]);
          for (int c = 0; c < 4; ++c)
            if (program_operand<T>(a.sees.outputs[0], local, uniform[1], c) == 0) bits &= ~(1u << (4 * r + c));
        }
      }
    return bits;
  }
  static __device__ int within_tile(int64_t x) { return x < -tile ? -tile : x > tile ? tile : int(x); }
  __device__ void put_seen(uint32_t bits) {
#pragma unroll
    for (int r = 0; r < 4; ++r) seen[(ty * 4 + r) * side + tx] = uint8_t(bits >> 4 * r & 15);
  }

  // Local registers of a program: the score, the query, the key, and the gradient if it has one.
  __device__ void place_inputs(T (&local)[program_locals][4], int64_t query, int64_t key_position) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      local[1][c] = T(query + a.tk - a.tq);
      local[2][c] = T(key_position + c);
    }
  }
  static __device__ void run_program(ProgramView<T> const& program, T (&local)[program_locals][4], T* shared) {
    run_steps<T>(program.steps + program.block_steps, program.count, local, shared, program.tables);
  }

  __device__ void modify(T (&s)[4][4], int64_t i, int64_t j) {
    T local[program_locals][4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      place_inputs(local, i + ty * 4 + r, j + tx * 4);
#pragma unroll
      for (int c = 0; c < 4; ++c) local[0][c] = s[r][c];
      run_program(a.score, local, uniform[0]);
#pragma unroll
      for (int c = 0; c < 4; ++c) s[r][c] = program_operand<T>(a.score.outputs[0], local, uniform[0], c);
    }
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
  size_t const programs = S::mods ? size_t(a.score.shared + a.sees.shared + a.slope.shared) : 0;
  return (kept + size_t(S::stage) + size_t(S::tile * S::pitch) + programs) * sizeof(T) + size_t(S::tile * S::side);
}

/// The key tiles of a query tile, in order.
struct Walk {
  TilePattern::Tile const* list = nullptr;
  int64_t first = 0, count = 0;
  int ratio = 1;

  template <class T>
  __device__ Walk(Scene<T> const& a, int64_t b, int64_t h, int64_t i, int queries, int tile) {
    if (a.list) {
      int64_t const row = a.pattern_row(b, h, i / (int64_t(tile) * a.ratio));
      list = a.list + a.begin[row], ratio = a.ratio;
      count = (a.begin[row + 1] - a.begin[row]) * ratio;
      return;
    }
    int64_t const low = i + a.shift_low, high = i + queries - 1 + a.shift_high;
    int64_t const last = high < a.tk - 1 ? high : a.tk - 1;
    first = low > 0 ? low / tile : 0;
    count = last >= first * tile ? last / tile - first + 1 : 0;
  }
  __device__ int64_t block(int64_t n) const {
    return list ? int64_t(list[n / ratio].key_block) * ratio + n % ratio : first + n;
  }
  __device__ bool full(int64_t n, bool otherwise) const { return list ? list[n / ratio].full : otherwise; }
};

template <class T>
__device__ inline T larger(T a, T b) {
  return a > b ? a : b;
}

/// Results of a part of the keys, where there are several: rows [part][B·H·Tq].
template <class T>
struct Parts {
  T* out;  // [dv]
  T* lse;
};

template <class T, class S>
__global__ void __launch_bounds__(S::threads, S::blocks)
    forward_tiles(Scene<T> a, Rows<T> out, T* lse, Parts<T> parts, int64_t query_tiles, int slices) {
  HEED_DYNAMIC_SHARED(T, shared);
  constexpr int tile = S::tile;
  bool const resident = a.d <= S::most_resident;
  Block<T, S> block(a, shared + (resident ? (a.d + S::depth - 1) / S::depth * S::depth * S::pitch : 0));
  // Query tiles at the end come first: under a causal mask they are the longest.
  int64_t const id = blockIdx.x, slice = id % slices, heads = gridDim.x / (query_tiles * slices);
  int64_t const head = id / slices % heads, i = (query_tiles - 1 - id / slices / heads) * tile;
  int64_t const column = slice * S::columns;
  int const queries = a.tq - i < tile ? int(a.tq - i) : tile;
  block.begin_head(head / a.heads, head % a.heads);
  int64_t const b = block.b, h = block.h, g = a.key_head(h);
  T const* const q = a.q.at + b * a.q.batch + h * a.q.head + i * a.q.row;
  if (resident) block.keep(shared, q, a.q.row, queries, a.d, a.q.aligned);

  T o[4][S::groups * 4] = {};
  T top[4], sum[4];
#pragma unroll
  for (int r = 0; r < 4; ++r) top[r] = nothing<T>, sum[r] = 0;

  Walk const walk(a, b, h, i, queries, tile);
  int64_t const parts_there = gridDim.y, part = blockIdx.y;
#pragma unroll 1
  for (int64_t n = walk.count * part / parts_there; n < walk.count * (part + 1) / parts_there; ++n) {
    int64_t const j = walk.block(n) * tile;
    if (j >= a.tk) continue;
    int const keys = a.tk - j < tile ? int(a.tk - j) : tile;
    if (block.window_empty(i, queries, j, keys)) continue;
    bool const full = walk.full(n, !a.sees.steps) && block.window_full(i, queries, j, keys);
    uint32_t const bits = block.visible(i, queries, j, keys, full);
    if (!full && !__syncthreads_or(bits != 0)) continue;

    T s[4][4];
    block.products(s, resident ? shared : nullptr, q, a.q.row, queries, a.q.aligned, a.row(a.k, b, g, j), a.k.row, keys,
                   a.k.aligned, a.d);
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int c = 0; c < 4; ++c) s[r][c] *= a.scale;
    if constexpr (S::mods)
      if (a.score.steps) block.modify(s, i, j);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      if (a.direct) {
#pragma unroll
        for (int c = 0; c < 4; ++c) s[r][c] = bits >> (4 * r + c) & 1 ? s[r][c] : T(0);
      } else {
        T most = top[r];
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          s[r][c] = bits >> (4 * r + c) & 1 ? s[r][c] : nothing<T>;
          most = larger(s[r][c], most);
        }
#pragma unroll
        for (int distance = S::side / 2; distance > 0; distance /= 2)
          most = larger(__shfl_xor_sync(warp::all, most, distance), most);
        T const safe = most == nothing<T> ? T(0) : most;
        T const fade = ::exp(top[r] - safe);
        top[r] = most;
        sum[r] *= fade;  // this thread's columns alone; the others join at the end
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          s[r][c] = ::exp(s[r][c] - safe);
          sum[r] += s[r][c];
        }
#pragma unroll
        for (int c = 0; c < S::groups * 4; ++c) o[r][c] *= fade;
      }
      if (a.threshold) {
        T factor[4];
        block.dropout(factor, i + block.ty * 4 + r, j + block.tx * 4);
#pragma unroll
        for (int c = 0; c < 4; ++c) s[r][c] *= factor[c];
      }
    }
    block.template put_weights<false>(s);
    if (!full) block.put_seen(bits);
    block.add_weighted(o, a.row(a.v, b, g, j) + column, a.v.row, keys, a.dv - column, a.v.aligned, !full, nullptr);
  }

#pragma unroll
  for (int r = 0; r < 4; ++r) {
#pragma unroll
    for (int distance = S::side / 2; distance > 0; distance /= 2)
      sum[r] += __shfl_xor_sync(warp::all, sum[r], distance);
    int const row = block.ty * 4 + r;
    if (row >= queries) continue;
    int64_t const at = head * a.tq + i + row;
    bool const none = !a.direct && sum[r] == 0;
    T const factor = a.direct ? T(1) : T(1) / sum[r];
    T* const to = parts.out ? parts.out + (part * heads * a.tq + at) * a.dv
                            : out.at + b * out.batch + h * out.head + (i + row) * out.row;
#pragma unroll
    for (int c = 0; c < S::groups * 4; ++c) {
      int64_t const x = column + c / 4 * tile + block.tx * 4 + c % 4;
      if (x < a.dv) to[x] = none ? T(0) : o[r][c] * factor;
    }
    if (!a.direct && slice == 0 && block.tx == 0)
      (parts.out ? parts.lse[part * heads * a.tq + at] : lse[at]) = none ? nothing<T> : top[r] + ::log(sum[r]);
  }
}

/// Results of parts of the keys become one: a warp a row.
template <class T>
__global__ void __launch_bounds__(256)
    join_parts(Scene<T> a, Rows<T> out, T* lse, Parts<T> parts, int count, int64_t rows) {
  int64_t const at = int64_t(blockIdx.x) * 8 + threadIdx.x / 32;
  if (at >= rows) return;
  T most = nothing<T>, total = 0;
  for (int part = 0; part < count; ++part) most = larger(parts.lse[part * rows + at], most);
  T const safe = most == nothing<T> ? T(0) : most;
  for (int part = 0; part < count; ++part) total += ::exp(parts.lse[part * rows + at] - safe);
  int64_t const b = at / (a.heads * a.tq), h = at / a.tq % a.heads, i = at % a.tq;
  T* const to = out.at + b * out.batch + h * out.head + i * out.row;
  for (int64_t c = warp::lane(); c < a.dv; c += 32) {
    T sum = 0;
    for (int part = 0; part < count; ++part) {
      T const weight = ::exp(parts.lse[part * rows + at] - safe);
      if (weight != 0) sum += weight * parts.out[(part * rows + at) * a.dv + c];
    }
    to[c] = total == 0 ? T(0) : sum / total;
  }
  if (warp::lane() == 0) lse[at] = total == 0 ? nothing<T> : safe + ::log(total);
}

/// delta = Σ out·dout − dlse: a warp a row.
template <class T>
__global__ void __launch_bounds__(256)
    prepare(Scene<T> a, Rows<T const> out, Rows<T const> dout, T const* lse, T const* dlse, T* delta, int64_t rows) {
  int64_t const at = int64_t(blockIdx.x) * 8 + threadIdx.x / 32;
  if (at >= rows) return;
  int64_t const b = at / (a.heads * a.tq), h = at / a.tq % a.heads, i = at % a.tq;
  T const* const o = out.at + b * out.batch + h * out.head + i * out.row;
  T const* const d = dout.at + b * dout.batch + h * dout.head + i * dout.row;
  T sum = 0;
  for (int64_t c = warp::lane(); c < a.dv; c += 32) sum += o[c] * d[c];
  sum = warp::sum(sum);
  if (warp::lane() == 0) delta[at] = lse[at] == nothing<T> ? T(0) : sum - (dlse ? dlse[at] : T(0));
}

/// Weights (with dropout) and dS of a tile, of which something is seen.
template <class T, class S>
struct Tile {
  T w[4][4], ds[4][4];
  uint32_t bits;

  /// dout_rows: of the query tile; kept: its queries in shared memory, or null.
  __device__ void compute(Block<T, S>& block, Scene<T> const& a, Slopes<T> const& x, T const* kept, T const* q,
                          T const* dout, int64_t i, int queries, int64_t j, int keys) {
    int64_t const b = block.b, h = block.h, g = a.key_head(h);
    T raw[S::mods ? 4 : 1][4];
    block.products(w, kept, q, a.q.row, queries, a.q.aligned, a.row(a.k, b, g, j), a.k.row, keys, a.k.aligned, a.d);
    block.products(ds, nullptr, dout, x.dout.row, queries, x.dout.aligned, a.row(a.v, b, g, j), a.v.row, keys,
                   a.v.aligned, a.dv);
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        w[r][c] *= a.scale;
        if constexpr (S::mods) raw[r][c] = w[r][c];
      }
    if constexpr (S::mods)
      if (a.score.steps) block.modify(w, i, j);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      int const row = block.ty * 4 + r;
      int64_t const at = (b * a.heads + h) * a.tq + i + row;
      T const norm = !a.direct && row < queries ? x.lse[at] : T(0);
      T const delta = !a.direct && row < queries ? x.delta[at] : T(0);
      T factor[4] = {1, 1, 1, 1};
      if (a.threshold) block.dropout(factor, i + row, j + block.tx * 4);
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        bool const sees = bits >> (4 * r + c) & 1;
        if (a.direct) {
          w[r][c] = sees ? w[r][c] * factor[c] : T(0);
          ds[r][c] = sees ? ds[r][c] * factor[c] : T(0);
        } else {
          T const p = sees ? ::exp(w[r][c] - norm) : T(0);
          ds[r][c] = p == 0 ? T(0) : p * (factor[c] * ds[r][c] - delta);
          w[r][c] = p * factor[c];
        }
      }
    }
    if constexpr (S::mods)
      if (a.slope.steps) slope(block, a, x, raw, i, j);
  }

  /// ds becomes the slope with respect to q·k, and tables get theirs.
  __device__ void slope(Block<T, S>& block, Scene<T> const& a, Slopes<T> const& x, T const (&raw)[S::mods ? 4 : 1][4],
                        int64_t i, int64_t j) {
    T local[program_locals][4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      block.place_inputs(local, i + block.ty * 4 + r, j + block.tx * 4);
#pragma unroll
      for (int c = 0; c < 4; ++c) local[0][c] = raw[S::mods ? r : 0][c], local[3][c] = ds[r][c];
      block.run_program(a.slope, local, block.uniform[2]);
      auto const output = [&](int k, int c) {
        return program_operand<T>(a.slope.outputs[k], local, block.uniform[2], c);
      };
#pragma unroll
      for (int c = 0; c < 4; ++c) ds[r][c] = bits >> (4 * r + c) & 1 ? output(0, c) : T(0);
      if (x.pass == Slopes<T>::whole) continue;
      for (int k = 0; k < x.sink_count; ++k) {
        AttendSink const& sink = x.sinks[k];
        for (int c = 0; c < 4; ++c) {
          double const value = bits >> (4 * r + c) & 1 ? double(output(1 + 4 * k, c)) : 0;
          if (value == 0) continue;
          if (x.pass == Slopes<T>::measure) {
            atomicMax(x.peaks + k, (unsigned long long)(__double_as_longlong(::fabs(value))));
            continue;
          }
          int64_t place = 0;
          for (int axis = 0; axis < 3; ++axis)
            if (sink.stride[axis])
              place += table_place(output(2 + 4 * k + axis, c), sink.size[axis]) * sink.stride[axis];
          double const unit = sink_unit(x.peaks[k], x.spare_bits);
          if (unit > 0) atomicAdd(x.sums[k] + place, (unsigned long long)((long long)(::rint(value / unit))));
        }
      }
    }
  }

  /// A power of two: the largest slope is less than 2^(62 − spare) of it. 0: a slope is not finite.
  static __device__ double sink_unit(unsigned long long peak, int spare) {
    double const most = __longlong_as_double((long long)(peak));
    if (odd_number(most)) return 0;
    int exponent = int(peak >> 52) - 1022 - (62 - spare);  // most < 2^(biased − 1022)
    return ::ldexp(1.0, exponent < -1022 ? -1022 : exponent);
  }
};

template <class T>
__global__ void __launch_bounds__(256)
    finish_sink(AttendSink sink, unsigned long long const* sums, unsigned long long const* peak, int spare) {
  double const unit = Tile<T, Shape<T, 32, 64, true>>::sink_unit(*peak, spare);
  double const bad = __longlong_as_double(0x7ff8000000000000ll);
  for (int64_t at = int64_t(blockIdx.x) * 256 + threadIdx.x; at < sink.numel; at += int64_t(gridDim.x) * 256)
    sink.sum[at] += unit > 0 ? double((long long)(sums[at])) * unit : bad;
}

template <class T, class S>
__global__ void __launch_bounds__(S::threads, S::blocks)
    query_gradients(Scene<T> a, Slopes<T> x, int64_t query_tiles, int slices) {
  HEED_DYNAMIC_SHARED(T, shared);
  constexpr int tile = S::tile;
  bool const resident = a.d <= S::most_resident;
  Block<T, S> block(a, shared + (resident ? (a.d + S::depth - 1) / S::depth * S::depth * S::pitch : 0));
  int64_t const id = blockIdx.x, slice = id % slices, heads = gridDim.x / (query_tiles * slices);
  int64_t const head = id / slices % heads, i = (query_tiles - 1 - id / slices / heads) * tile;
  int64_t const column = slice * S::columns;
  int const queries = a.tq - i < tile ? int(a.tq - i) : tile;
  block.begin_head(head / a.heads, head % a.heads);
  int64_t const b = block.b, h = block.h, g = a.key_head(h);
  T const* const q = a.q.at + b * a.q.batch + h * a.q.head + i * a.q.row;
  T const* const dout = x.dout.at + b * x.dout.batch + h * x.dout.head + i * x.dout.row;
  if (resident) block.keep(shared, q, a.q.row, queries, a.d, a.q.aligned);

  T dq[4][S::groups * 4] = {};
  Walk const walk(a, b, h, i, queries, tile);
#pragma unroll 1
  for (int64_t n = 0; n < walk.count; ++n) {
    int64_t const j = walk.block(n) * tile;
    if (j >= a.tk) continue;
    int const keys = a.tk - j < tile ? int(a.tk - j) : tile;
    if (block.window_empty(i, queries, j, keys)) continue;
    bool const full = walk.full(n, !a.sees.steps) && block.window_full(i, queries, j, keys);
    Tile<T, S> t;
    t.bits = block.visible(i, queries, j, keys, full);
    if (!full && !__syncthreads_or(t.bits != 0)) continue;
    t.compute(block, a, x, resident ? shared : nullptr, q, dout, i, queries, j, keys);
    if (x.pass == Slopes<T>::add) continue;
    block.template put_weights<false>(t.ds);
    if (!full) block.put_seen(t.bits);
    block.add_weighted(dq, a.row(a.k, b, g, j) + column, a.k.row, keys, a.d - column, a.k.aligned, !full, nullptr);
  }
  if (x.pass == Slopes<T>::add) return;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    int const row = block.ty * 4 + r;
    if (row >= queries) continue;
    T* const to = x.dq.at + b * x.dq.batch + h * x.dq.head + (i + row) * x.dq.row;
#pragma unroll
    for (int c = 0; c < S::groups * 4; ++c) {
      int64_t const y = column + c / 4 * tile + block.tx * 4 + c % 4;
      if (y < a.d) to[y] = a.scale * dq[r][c];
    }
  }
}

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

template <class T, class S>
__global__ void __launch_bounds__(S::threads, S::key_blocks)
    key_gradients(Scene<T> a, Slopes<T> x, int64_t key_tiles, int slices) {
  HEED_DYNAMIC_SHARED(T, shared);
  constexpr int tile = S::tile;
  Block<T, S> block(a, shared);
  int64_t const id = blockIdx.x, slice = id % slices, heads = gridDim.x / (key_tiles * slices);
  int64_t const head = id / slices % heads, b = head / a.kv_heads, g = head % a.kv_heads;
  int64_t const key_tile = id / slices / heads, j = key_tile * tile, column = slice * S::columns;
  int const keys = a.tk - j < tile ? int(a.tk - j) : tile;

  // Rows are keys here, as sums go; tiles of weights keep queries as rows.
  T dk[4][S::groups * 4] = {}, dv[4][S::groups * 4] = {};
  int64_t const group = a.heads / a.kv_heads;
  int64_t const low = j - a.shift_high, high = j + keys - 1 - a.shift_low;
  int64_t const last = high < a.tq - 1 ? high : a.tq - 1;
#pragma unroll 1
  for (int64_t h = g * group; h < (g + 1) * group; ++h) {
    block.begin_head(b, h);
#pragma unroll 1
    for (int64_t i = (low > 0 ? low / tile : 0) * tile; i <= last; i += tile) {
      int const queries = a.tq - i < tile ? int(a.tq - i) : tile;
      int const found = a.list ? listed(a, b, h, i / tile, key_tile) : a.sees.steps ? 1 : 2;
      if (found == 0 || block.window_empty(i, queries, j, keys)) continue;
      bool const full = found == 2 && block.window_full(i, queries, j, keys);
      Tile<T, S> t;
      t.bits = block.visible(i, queries, j, keys, full);
      if (!full && !__syncthreads_or(t.bits != 0)) continue;
      T const* const q = a.q.at + b * a.q.batch + h * a.q.head + i * a.q.row;
      T const* const dout = x.dout.at + b * x.dout.batch + h * x.dout.head + i * x.dout.row;
      T const* const norms = a.direct ? nullptr : x.lse + (b * a.heads + h) * a.tq + i;
      t.compute(block, a, x, nullptr, q, dout, i, queries, j, keys);
      if (column < a.dv) {
        block.template put_weights<true>(t.w);
        block.add_weighted(dv, dout + column, x.dout.row, queries, a.dv - column, x.dout.aligned, false, norms);
      }
      if (column < a.d) {
        __syncthreads();
        block.template put_weights<true>(t.ds);
        block.add_weighted(dk, q + column, a.q.row, queries, a.d - column, a.q.aligned, false, norms);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    int const row = block.ty * 4 + r;
    if (row >= keys) continue;
    T* const to_k = x.dk.at + b * x.dk.batch + g * x.dk.head + (j + row) * x.dk.row;
    T* const to_v = x.dv.at + b * x.dv.batch + g * x.dv.head + (j + row) * x.dv.row;
#pragma unroll
    for (int c = 0; c < S::groups * 4; ++c) {
      int64_t const y = column + c / 4 * tile + block.tx * 4 + c % 4;
      if (y < a.d) to_k[y] = a.scale * dk[r][c];
      if (y < a.dv) to_v[y] = dv[r][c];
    }
  }
}

// ---- host ---------------------------------------------------------------------------------------------------------

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

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
    tile = !mods && sizeof(T) == 4 && pattern_tile >= 64 && !a.pattern ? 64 : 32;
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
  bool mods() const { return scene.score.steps || scene.sees.steps; }
};

/// f(Shape) for the tiles of this scene and results of `columns`.
template <class T, class F>
void with_shape(Staged<T> const& staged, int64_t columns, F const& f) {
  if constexpr (sizeof(T) == 4)
    if (staged.tile == 64) return columns <= 64 ? f(Shape<T, 64, 64, false>{}) : f(Shape<T, 64, 128, false>{});
  if (staged.mods())
    f(Shape<T, 32, 64, true>{});
  else
    f(Shape<T, 32, 64, false>{});
}

template <class T>
int64_t kept_depth(Scene<T> const& s) {
  return s.d <= 128 ? s.d : 0;
}

/// Parts of the keys, where query tiles are too few to fill a GPU: by shape.
int64_t key_parts(int64_t blocks, int64_t tiles) {
  if (blocks >= 128) return 1;
  int64_t const wanted = ceil_div(256, blocks), most = tiles / 2 < 64 ? tiles / 2 : 64;
  return wanted < most ? wanted : most < 1 ? 1 : most;
}

template <class T>
void forward(AttendArgs<T> const& a, T* out, AttendStrides os, T* lse) {
  int64_t const total = a.batch * a.heads * a.tq;
  if (total <= 0) return;
  Staged<T> const staged(a);
  Scene<T> const& s = staged.scene;
  Rows<T> const to = rows(out, a.dv, os);
  with_shape(staged, a.dv, [&]<class S>(S) {
    int64_t const query_tiles = ceil_div(a.tq, S::tile), slices = a.dv > 0 ? ceil_div(a.dv, S::columns) : 1;
    int64_t const blocks = a.batch * a.heads * query_tiles * slices;
    int64_t const low = s.shift_low > 0 ? s.shift_low : 0,
                  end = a.tq + s.shift_high < a.tk ? a.tq + s.shift_high : a.tk;
    int64_t const parts = a.direct ? 1 : key_parts(blocks, end > low ? (end - low) / S::tile : 0);
    DeviceScratch<T> room(parts > 1 ? parts * total * (a.dv + 1) : 0);
    Parts<T> const there{room.data(), parts > 1 ? room.data() + parts * total * a.dv : nullptr};
    launch(forward_tiles<T, S>, "attend", {in_a_row(blocks).x, unsigned(parts)}, {S::threads},
           shared_bytes<T, S>(s, kept_depth(s)), s, to, lse, there, query_tiles, int(slices));
    if (parts > 1)
      launch(join_parts<T>, "attend (join of parts)", in_a_row(ceil_div(total, 8)), {256}, 0, s, to, lse, there,
             int(parts), total);
  });
}

template <class T>
void backward(AttendArgs<T> const& a, AttendGradArgs<T> const& g) {
  int64_t const total = a.batch * a.heads * a.tq;
  Staged<T> const staged(a, g.slope);
  Scene<T> const& s = staged.scene;
  Slopes<T> x{};
  x.dout = rows(g.dout, a.dv, g.dout_strides), x.lse = g.lse;
  x.dq = rows(g.dq, a.d, g.dq_strides), x.dk = rows(g.dk, a.d, g.dk_strides), x.dv = rows(g.dv, a.dv, g.dv_strides);
  DeviceScratch<T> delta(a.direct ? 0 : total);
  x.delta = delta.data();
  if (!a.direct && total > 0)
    launch(prepare<T>, "attend (backward, rows)", in_a_row(ceil_div(total, 8)), {256}, 0, s,
           rows(g.out, a.dv, g.out_strides), x.dout, g.lse, g.dlse, delta.data(), total);

  // Sinks: copies of them, peaks, addresses of the sums, the sums.
  int64_t places = 0;
  for (int k = 0; k < g.sink_count; ++k) places += g.sinks[k].numel;
  DeviceScratch<unsigned long long> sums(g.sink_count ? places + 2 * g.sink_count : 0);
  DeviceScratch<AttendSink> sinks(g.sink_count);
  if (g.sink_count) {
    rt::Stream const stream = current_stream();
    size_t const count = size_t(g.sink_count);
    check_device(rt::fill_bytes(sums.data(), 0, size_t(places + 2 * g.sink_count) * 8, stream), "attend");
    check_device(rt::copy_to_device(sinks.data(), g.sinks, count * sizeof(AttendSink), stream), "attend");
    std::vector<unsigned long long*> addresses;
    unsigned long long* at = sums.data() + 2 * g.sink_count;
    for (int k = 0; k < g.sink_count; ++k) addresses.push_back(at), at += g.sinks[k].numel;
    check_device(rt::copy_to_device(sums.data() + g.sink_count, addresses.data(), count * 8, stream), "attend");
    x.sinks = sinks.data(), x.sink_count = g.sink_count, x.peaks = sums.data();
    x.sums = reinterpret_cast<unsigned long long* const*>(sums.data() + g.sink_count);
    double terms = double(total) * double(a.tk);
    while (terms >= 1) terms /= 2, ++x.spare_bits;
  }

  with_shape(staged, a.d > a.dv ? a.d : a.dv, [&]<class S>(S) {
    int64_t const query_tiles = ceil_div(a.tq, S::tile), key_tiles = ceil_div(a.tk, S::tile);
    int64_t const dq_slices = a.d > 0 ? ceil_div(a.d, S::columns) : 1;
    int64_t const widest = a.d > a.dv ? a.d : a.dv, slices = widest > 0 ? ceil_div(widest, S::columns) : 1;
    auto const queries = [&](typename Slopes<T>::Pass pass, int64_t with_slices) {
      x.pass = pass;
      int64_t const blocks = a.batch * a.heads * query_tiles * with_slices;
      if (blocks > 0)
        launch(query_gradients<T, S>, "attend (backward, queries)", in_a_row(blocks), {S::threads},
               shared_bytes<T, S>(s, kept_depth(s)), s, x, query_tiles, int(with_slices));
    };
    queries(g.sink_count ? Slopes<T>::measure : Slopes<T>::whole, dq_slices);
    if (g.sink_count) queries(Slopes<T>::add, 1);
    x.pass = Slopes<T>::whole;
    int64_t const blocks = a.batch * a.kv_heads * key_tiles * slices;
    if (blocks > 0)
      launch(key_gradients<T, S>, "attend (backward, keys)", in_a_row(blocks), {S::threads}, shared_bytes<T, S>(s, 0),
             s, x, key_tiles, int(slices));
  });
  unsigned long long const* at = sums.data() + 2 * g.sink_count;
  for (int k = 0; k < g.sink_count; ++k) {
    if (g.sinks[k].numel > 0)
      launch(finish_sink<T>, "attend (backward, tables)",
             {unsigned(g.sinks[k].numel < 65536 ? ceil_div(g.sinks[k].numel, 256) : 256)}, {256}, 0, g.sinks[k], at,
             x.peaks + k, x.spare_bits);
    at += g.sinks[k].numel;
  }
}

}  // namespace

extern AttendKernels const device_attend_kernels;
constinit AttendKernels const device_attend_kernels{
    {{forward<float>, backward<float>}, {forward<double>, backward<double>}}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
