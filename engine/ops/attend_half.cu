// Attention of 16-bit operands on the matrix units (Dao, "FlashAttention-2", 2023): a warp has 32 queries, whose scores
// and results stay in its registers; tiles of keys and values come by asynchronous copies, one on its way while the
// other is multiplied. For each pair and channel two multiply-adds; a warp reads each tile once for 32 rows, so that
// matrix instructions outnumber ldmatrix by 3 to 1.
#include <heed/engine/ops/attend_half_threads.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace half_attention {
namespace {

constexpr int m = 2, queries_of_block = warps * 16 * m, stages = 2;
/// Keys at a time: results of d = 128 leave registers for the scores of 32.
template <int d>
constexpr int tile_of = d == 64 ? 64 : 32;

/// Results of a part of the keys, where there are several: rows [part][B·H·Tq], divided by their sums.
struct Parts {
  float* out;  // [d]
  float* lse;
};

template <class E, int d>
__global__ void __launch_bounds__(threads, 2)
    forward_tiles(Scene<E> a, Rows<E> out, float* lse, Parts parts, int query_tiles) {
  using Tile = Tiles<E, d>;
  constexpr int tile = tile_of<d>;
  HEED_DYNAMIC_SHARED(uint16_t, shared);
  HEED_SHARED(unsigned, odd_keys, 2);
  if (threadIdx.x < 2) odd_keys[threadIdx.x] = 0;
  uint16_t* const q = shared;
  auto const k_tile = [&](int slot) {
    return shared + Tile::elements(queries_of_block) + slot * 2 * Tile::elements(tile);
  };
  auto const v_tile = [&](int slot) { return k_tile(slot) + Tile::elements(tile); };

  // Query tiles at the end come first: under a causal mask they are the longest.
  int const heads = int(gridDim.x) / query_tiles, head = int(blockIdx.x) % heads;
  int const b = head / int(a.heads), h = head % int(a.heads);
  int const i = (query_tiles - 1 - int(blockIdx.x) / heads) * queries_of_block;
  int const queries = clipped(a.tq - i, queries_of_block), own = int(threadIdx.x / 32) * 16 * m;
  E const* const keys = a.k.head_of(b, a.key_head(h));
  E const* const values = a.v.head_of(b, a.key_head(h));

  int64_t const low = i + a.shift_low, high = i + queries - 1 + a.shift_high;
  int64_t const first = low > 0 ? low / tile : 0, last = (high < a.tk - 1 ? high : a.tk - 1);
  int64_t const all = last >= first * tile ? last / tile - first + 1 : 0;
  int const begin = int(first + all * blockIdx.y / gridDim.y), end = int(first + all * (blockIdx.y + 1) / gridDim.y);
  auto const fetch = [&](int n, int slot) {
    int64_t const j = int64_t(n) * tile;
    int const there = clipped(a.tk - j, tile);
    Tile::template fetch<tile>(keys + j * a.k.row, a.k.row, k_tile(slot), 0, there);
    Tile::template fetch<tile>(values + j * a.v.row, a.v.row, v_tile(slot), 0, there);
  };
  Tile::template fetch<queries_of_block>(a.q.head_of(b, h) + i * a.q.row, a.q.row, q, 0, queries);
  if (begin < end) fetch(begin, 0);
  cp_async::commit();

  float const scale = a.scale * log2_e;
  float o[m][d / 8][4] = {}, top[m][2], sum[m][2] = {};
#pragma unroll
  for (int r = 0; r < m; ++r) top[r][0] = top[r][1] = nothing;
  int slot = 0;
#pragma unroll 1
  for (int n = begin; n < end; ++n, slot ^= 1) {
    cp_async::wait_group<0>();
    __syncthreads();  // what all have fetched is there, and the tile before this one has been read by all
    if (n + 1 < end) fetch(n + 1, slot ^ 1);
    cp_async::commit();

    int64_t const j = int64_t(n) * tile;
    int const count = clipped(a.tk - j, tile);
    bool const full = count == tile && a.full(i, queries, j, tile);
    float s[m][tile / 8][4];
    Tile::multiply(s, q, own, k_tile(slot));
    // Columns that row 0 of the warp sees; row r sees as many further to the right.
    int const from = near(i + own + a.shift_low - j), to = near(i + own + a.shift_high - j);
    if (!full) {
#pragma unroll
      for (int r = 0; r < m; ++r)
#pragma unroll
        for (int c = 0; c < tile / 8; ++c)
#pragma unroll
          for (int x = 0; x < 4; ++x) {
            int const column = c * 8 + mma::column(x), shift = column - r * 16 - mma::row(x);
            if (column >= count || shift < from || shift > to) s[r][c][x] = nothing;
          }
    }
    float fade[m][2];
    bool higher = false;
#pragma unroll
    for (int r = 0; r < m; ++r)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float most = top[r][half];
#pragma unroll
        for (int c = 0; c < tile / 8; ++c) most = fmaxf(most, fmaxf(s[r][c][2 * half], s[r][c][2 * half + 1]));
        most = fmaxf(most, __shfl_xor_sync(warp::all, most, 1));
        most = fmaxf(most, __shfl_xor_sync(warp::all, most, 2));
        float const safe = most == nothing ? 0 : most * scale;
        fade[r][half] = exp2_about(top[r][half] * scale - safe);
        higher |= top[r][half] != most;
        top[r][half] = most;
        float total = sum[r][half] * fade[r][half];  // this thread's columns alone; the others join at the end
#pragma unroll
        for (int c = 0; c < tile / 8; ++c)
#pragma unroll
          for (int x = 2 * half; x < 2 * half + 2; ++x) total += s[r][c][x] = exp2_about(s[r][c][x] * scale - safe);
        sum[r][half] = total;
      }
    if (__any_sync(warp::all, higher)) {  // later tiles seldom have a larger score
#pragma unroll
      for (int r = 0; r < m; ++r)
#pragma unroll
        for (int c = 0; c < d / 8; ++c)
#pragma unroll
          for (int x = 0; x < 4; ++x) o[r][c][x] *= fade[r][x / 2];
    }
    bool const odd = !full && Tile::clear_odd(v_tile(slot), count, odd_keys);
    Tile::add_weighted(o, s, v_tile(slot));
    if (odd) Tile::add_odd(o, s, odd_keys, values + j * a.v.row, a.v.row, from, to, count);
  }
  cp_async::wait_group<0>();  // of the queries, where no key is seen

#pragma unroll
  for (int r = 0; r < m; ++r)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = sum[r][half];
      total += __shfl_xor_sync(warp::all, total, 1);
      total += __shfl_xor_sync(warp::all, total, 2);
      sum[r][half] = total;
      int const row = own + r * 16 + mma::row(2 * half);
      if (row >= queries) continue;
      int64_t const at = (int64_t(blockIdx.y) * heads + head) * a.tq + i + row;
      if (warp::lane() % 4 == 0)
        (parts.lse ? parts.lse : lse)[at] = total == 0 ? nothing : top[r][half] * a.scale + ::log(total);
      if (!parts.out) continue;
      float const factor = total == 0 ? 0 : 1 / total;
#pragma unroll
      for (int c = 0; c < d / 8; ++c)
        *reinterpret_cast<float2*>(parts.out + at * d + c * 8 + mma::column(0)) =
            make_float2(o[r][c][2 * half] * factor, o[r][c][2 * half + 1] * factor);
    }
  if (parts.out) return;
  Tile::store(
      o, [&](int r, int half) { return sum[r][half] == 0 ? 0.f : 1 / sum[r][half]; }, q, own,
      out.head_of(b, h) + i * out.row, out.row, queries);
}

/// Results of parts of the keys become one: a warp a row.
template <class E>
__global__ void __launch_bounds__(256, 4)
    join_parts(int64_t heads, int64_t tq, int d, Rows<E> out, float* lse, Parts parts, int count, int64_t rows) {
  int64_t const at = int64_t(blockIdx.x) * 8 + threadIdx.x / 32;
  if (at >= rows) return;
  float most = nothing, total = 0;
  for (int part = 0; part < count; ++part) most = fmaxf(most, parts.lse[part * rows + at]);
  float const safe = most == nothing ? 0 : most;
  for (int part = 0; part < count; ++part) total += ::exp(parts.lse[part * rows + at] - safe);
  E* const to = out.head_of(at / (heads * tq), at / tq % heads) + at % tq * out.row;
  for (int c = warp::lane(); c < d; c += 32) {
    float sum = 0;
    for (int part = 0; part < count; ++part) {
      float const weight = ::exp(parts.lse[part * rows + at] - safe);
      if (weight != 0) sum += weight * parts.out[(part * rows + at) * d + c];
    }
    to[c] = E(total == 0 ? 0.f : sum / total);
  }
  if (warp::lane() == 0) lse[at] = total == 0 ? nothing : safe + ::log(total);
}

template <class E, int d>
void launch_forward(AttendHalfArgs<E> const& a, E* out, AttendStrides os, float* lse) {
  int64_t const total = a.batch * a.heads * a.tq, query_tiles = ceil_div(a.tq, queries_of_block);
  int64_t const blocks = a.batch * a.heads * query_tiles;
  if (blocks == 0) return;
  constexpr int tile = tile_of<d>;
  // Few queries and many keys: parts of the keys, by shape.
  int64_t const low = a.shift_low > 0 ? a.shift_low : 0, high = a.tq + a.shift_high < a.tk ? a.tq + a.shift_high : a.tk;
  int64_t const most = high > low ? (high - low) / tile / 2 : 0, wanted = blocks >= 128 ? 1 : ceil_div(256, blocks);
  int64_t const parts = wanted < most ? wanted : most < 1 ? 1 : most;
  DeviceScratch<float> const room(parts > 1 ? parts * total * (d + 1) : 0);
  Parts const there{room.data(), parts > 1 ? room.data() + parts * total * d : nullptr};
  size_t const shared = size_t(Tiles<E, d>::elements(queries_of_block + stages * 2 * tile)) * sizeof(uint16_t);
  launch(forward_tiles<E, d>, "attend (16 bits)", {in_a_row(blocks).x, unsigned(parts)}, {threads}, shared, scene(a),
         rows(out, os), lse, there, int(query_tiles));
  if (parts > 1)
    launch(join_parts<E>, "attend (join of parts)", in_a_row(ceil_div(total, 8)), {256}, 0, a.heads, a.tq, d,
           rows(out, os), lse, there, int(parts), total);
}

template <class E>
void forward(AttendHalfArgs<E> const& a, E* out, AttendStrides os, float* lse) {
  (a.d == 64 ? launch_forward<E, 64> : launch_forward<E, 128>)(a, out, os, lse);
}

}  // namespace
}  // namespace half_attention

extern AttendHalfKernels const device_attend_half_kernels;
constinit AttendHalfKernels const device_attend_half_kernels{
    {{half_attention::forward<float16>, half_attention::backward<float16>},
     {half_attention::forward<bfloat16>, half_attention::backward<bfloat16>}}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
