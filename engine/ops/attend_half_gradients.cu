// Gradients of 16-bit attention on the matrix units: scores are computed again, once for dq by blocks with some queries
// each, once for dk and dv by blocks with some keys each, so that nothing is added up by atomics. In the second, tiles
// are transposed: keys are rows, and what one product leaves in registers is again an operand of the next.
#include <heed/engine/ops/attend_half_threads.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace half_attention {
namespace {

constexpr int stages = 2;

template <class E>
struct Slopes {
  Rows<E const> dout;
  float const* lse;
  float const* delta;  // [B, H, Tq]: Σ out·dout − dlse
  Rows<E> dq, dk, dv;
};

/// delta: a warp a row.
template <class E>
__global__ void __launch_bounds__(256) prepare(int64_t heads, int64_t tq, int d, Rows<E const> out, Rows<E const> dout,
                                               float const* lse, float const* dlse, float* delta, int64_t rows) {
  int64_t const at = int64_t(blockIdx.x) * 8 + threadIdx.x / 32;
  if (at >= rows) return;
  int64_t const b = at / (heads * tq), h = at / tq % heads, i = at % tq;
  E const* const x = out.head_of(b, h) + i * out.row;
  E const* const y = dout.head_of(b, h) + i * dout.row;
  float sum = 0;
  for (int c = warp::lane(); c < d; c += 32) sum += float(x[c]) * float(y[c]);
  sum = warp::sum(sum);
  if (warp::lane() == 0) delta[at] = lse[at] == nothing ? 0 : sum - (dlse ? dlse[at] : 0);
}

/// Queries (16·m a warp) and keys at a time: what registers hold of results, scores and their slopes.
template <int d>
struct QueryShape {
  static constexpr int m = 2, rows = warps * 16 * m, tile = 32;
  static constexpr int elements = (2 * rows + stages * 2 * tile) * d;
};
template <int d>
struct KeyShape {
  static constexpr int m = d == 64 ? 2 : 1, rows = warps * 16 * m, tile = 32;
  static constexpr int elements = (2 * rows + stages * 2 * tile) * d;
};

template <class E, int d>
__global__ void __launch_bounds__(threads, 2) query_gradients(Scene<E> a, Slopes<E> x, int query_tiles) {
  using Tile = Tiles<E, d>;
  using S = QueryShape<d>;
  constexpr int m = S::m, tile = S::tile;
  HEED_DYNAMIC_SHARED(uint16_t, shared);
  HEED_SHARED(unsigned, odd_keys, 2);
  HEED_SHARED(float, norms, S::rows);
  HEED_SHARED(float, deltas, S::rows);
  if (threadIdx.x < 2) odd_keys[threadIdx.x] = 0;
  uint16_t* const q = shared;
  uint16_t* const dout = q + Tile::elements(S::rows);
  auto const k_tile = [&](int slot) { return dout + Tile::elements(S::rows) + slot * 2 * Tile::elements(tile); };
  auto const v_tile = [&](int slot) { return k_tile(slot) + Tile::elements(tile); };

  int const heads = int(gridDim.x) / query_tiles, head = int(blockIdx.x) % heads;
  int const b = head / int(a.heads), h = head % int(a.heads);
  int const i = (query_tiles - 1 - int(blockIdx.x) / heads) * S::rows;
  int const queries = clipped(a.tq - i, S::rows), own = int(threadIdx.x / 32) * 16 * m;
  E const* const keys = a.k.head_of(b, a.key_head(h));
  E const* const values = a.v.head_of(b, a.key_head(h));

  int64_t const low = i + a.shift_low, high = i + queries - 1 + a.shift_high;
  int64_t const last = high < a.tk - 1 ? high : a.tk - 1;
  int const begin = int(low > 0 ? low / tile : 0), end = last >= int64_t(begin) * tile ? int(last / tile) + 1 : begin;
  auto const fetch = [&](int n, int slot) {
    int64_t const j = int64_t(n) * tile;
    int const there = clipped(a.tk - j, tile);
    Tile::template fetch<tile>(keys + j * a.k.row, a.k.row, k_tile(slot), 0, there);
    Tile::template fetch<tile>(values + j * a.v.row, a.v.row, v_tile(slot), 0, there);
  };
  Tile::template fetch<S::rows>(a.q.head_of(b, h) + i * a.q.row, a.q.row, q, 0, queries);
  Tile::template fetch<S::rows>(x.dout.head_of(b, h) + i * x.dout.row, x.dout.row, dout, 0, queries);
  if (begin < end) fetch(begin, 0);
  cp_async::commit();

  float const scale = a.scale * log2_e;
  for (int row = int(threadIdx.x); row < S::rows; row += threads) {
    int64_t const at = head * a.tq + i + row;
    bool const is = row < queries && x.lse[at] != nothing;
    norms[row] = is ? x.lse[at] * log2_e : -nothing;  // weights of 0
    deltas[row] = is ? x.delta[at] : 0;
  }
  float dq[m][d / 8][4] = {};
  int slot = 0;
#pragma unroll 1
  for (int n = begin; n < end; ++n, slot ^= 1) {
    cp_async::wait_group<0>();
    __syncthreads();
    if (n + 1 < end) fetch(n + 1, slot ^ 1);
    cp_async::commit();

    int64_t const j = int64_t(n) * tile;
    int const count = clipped(a.tk - j, tile);
    bool const full = count == tile && a.full(i, queries, j, tile);
    int const from = near(i + own + a.shift_low - j), to = near(i + own + a.shift_high - j);
    float s[m][tile / 8][4], ds[m][tile / 8][4];
    Tile::multiply(s, q, own, k_tile(slot));
    Tile::multiply(ds, dout, own, v_tile(slot));
#pragma unroll
    for (int r = 0; r < m; ++r)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float const norm = norms[own + r * 16 + mma::row(2 * half)], delta = deltas[own + r * 16 + mma::row(2 * half)];
#pragma unroll
        for (int c = 0; c < tile / 8; ++c)
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            int const column = c * 8 + mma::column(e), shift = column - r * 16 - mma::row(e);
            bool const seen = full || (column < count && shift >= from && shift <= to);
            float const p = seen ? exp2_about(s[r][c][e] * scale - norm) : 0;
            ds[r][c][e] = p == 0 ? 0 : p * (ds[r][c][e] - delta);
          }
      }
    bool odd = false;
    if (!full) {
      __syncthreads();  // all have read the keys
      odd = Tile::clear_odd(k_tile(slot), count, odd_keys);
    }
    Tile::add_weighted(dq, ds, k_tile(slot));
    if (odd) Tile::add_odd(dq, ds, odd_keys, keys + j * a.k.row, a.k.row, from, to, count);
  }
  cp_async::wait_group<0>();
  Tile::store(
      dq, [&](int, int) { return a.scale; }, q, own, x.dq.head_of(b, h) + i * x.dq.row, x.dq.row, queries);
}

template <class E, int d>
__global__ void __launch_bounds__(threads, 2) key_gradients(Scene<E> a, Slopes<E> x, int key_tiles) {
  using Tile = Tiles<E, d>;
  using S = KeyShape<d>;
  constexpr int m = S::m, tile = S::tile;
  HEED_DYNAMIC_SHARED(uint16_t, shared);
  HEED_SHARED(float, norms, stages* tile);
  HEED_SHARED(float, deltas, stages* tile);
  uint16_t* const k = shared;
  uint16_t* const v = k + Tile::elements(S::rows);
  auto const q_tile = [&](int slot) { return v + Tile::elements(S::rows) + slot * 2 * Tile::elements(tile); };
  auto const dout_tile = [&](int slot) { return q_tile(slot) + Tile::elements(tile); };

  int const heads = int(gridDim.x) / key_tiles, head = int(blockIdx.x) % heads;  // of keys
  int const b = head / int(a.kv_heads), g = head % int(a.kv_heads);
  int const j = int(blockIdx.x) / heads * S::rows;
  int const keys = clipped(a.tk - j, S::rows), own = int(threadIdx.x / 32) * 16 * m;

  int64_t const low = j - a.shift_high, high = j + keys - 1 - a.shift_low;
  int64_t const last = high < a.tq - 1 ? high : a.tq - 1;
  int const begin = int(low > 0 ? low / tile : 0), end = last >= int64_t(begin) * tile ? int(last / tile) + 1 : begin;
  auto const fetch = [&](int h, int n, int slot) {
    int64_t const i = int64_t(n) * tile;
    // Queries before and after these see nothing; what they hold is not to be met.
    int const there = clipped(a.tq - i, tile), from = a.shift_high < -i ? clipped(-a.shift_high - i, there) : 0;
    int const to = clipped(a.tk - a.shift_low - i, there);
    Tile::template fetch<tile>(a.q.head_of(b, h) + i * a.q.row, a.q.row, q_tile(slot), from, to);
    Tile::template fetch<tile>(x.dout.head_of(b, h) + i * x.dout.row, x.dout.row, dout_tile(slot), from, to);
    int const row = int(threadIdx.x);
    if (row >= tile) return;
    int64_t const at = (int64_t(b) * a.heads + h) * a.tq + i + row;
    bool const is = row < there && x.lse[at] != nothing;
    norms[slot * tile + row] = is ? x.lse[at] * log2_e : -nothing;  // weights of 0
    deltas[slot * tile + row] = is ? x.delta[at] : 0;
  };
  Tile::template fetch<S::rows>(a.k.head_of(b, g) + j * a.k.row, a.k.row, k, 0, keys);
  Tile::template fetch<S::rows>(a.v.head_of(b, g) + j * a.v.row, a.v.row, v, 0, keys);
  int h = g * int(a.heads / a.kv_heads), n = begin;
  int const last_head = begin < end ? h + int(a.heads / a.kv_heads) : h;
  if (h < last_head) fetch(h, n, 0);
  cp_async::commit();

  float const scale = a.scale * log2_e;
  float dk[m][d / 8][4] = {}, dv[m][d / 8][4] = {};
  int slot = 0;
#pragma unroll 1
  for (; h < last_head; slot ^= 1) {
    cp_async::wait_group<0>();
    __syncthreads();
    int64_t const i = int64_t(n) * tile;
    if (++n == end) ++h, n = begin;
    if (h < last_head) fetch(h, n, slot ^ 1);
    cp_async::commit();

    bool const full = a.full(i, tile, j, keys);
    // Rows are keys: key row of the warp sees query column iff row − to <= column <= row − from.
    int const from = near(own + j - i - a.shift_high), to = near(own + j - i - a.shift_low);
    float p[m][tile / 8][4], ds[m][tile / 8][4];
    Tile::multiply(p, k, own, q_tile(slot));
#pragma unroll
    for (int r = 0; r < m; ++r)
#pragma unroll
      for (int c = 0; c < tile / 8; ++c)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          int const column = c * 8 + mma::column(e), shift = column - r * 16 - mma::row(e);
          bool const seen = full || (shift >= from && shift <= to);
          p[r][c][e] = seen ? exp2_about(p[r][c][e] * scale - norms[slot * tile + column]) : 0;
        }
    Tile::add_weighted(dv, p, dout_tile(slot));
    Tile::multiply(ds, v, own, dout_tile(slot));
#pragma unroll
    for (int r = 0; r < m; ++r)
#pragma unroll
      for (int c = 0; c < tile / 8; ++c)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float const delta = deltas[slot * tile + c * 8 + mma::column(e)];
          ds[r][c][e] = p[r][c][e] == 0 ? 0 : p[r][c][e] * (ds[r][c][e] - delta);
        }
    Tile::add_weighted(dk, ds, q_tile(slot));
  }
  cp_async::wait_group<0>();
  Tile::store(
      dk, [&](int, int) { return a.scale; }, k, own, x.dk.head_of(b, g) + j * x.dk.row, x.dk.row, keys);
  Tile::store(
      dv, [&](int, int) { return 1.f; }, v, own, x.dv.head_of(b, g) + j * x.dv.row, x.dv.row, keys);
}

template <class E, int d>
void launch_backward(AttendHalfArgs<E> const& a, AttendHalfGradArgs<E> const& g) {
  int64_t const total = a.batch * a.heads * a.tq;
  DeviceScratch<float> const delta(total);
  Slopes<E> const x{
      rows(g.dout, g.dout_strides), g.lse, delta.data(), rows(g.dq, g.dq_strides), rows(g.dk, g.dk_strides),
      rows(g.dv, g.dv_strides)};
  if (total > 0)
    launch(prepare<E>, "attend (backward, rows)", in_a_row(ceil_div(total, 8)), {256}, 0, a.heads, a.tq, d,
           rows(g.out, g.out_strides), x.dout, g.lse, g.dlse, delta.data(), total);
  int64_t const query_tiles = ceil_div(a.tq, QueryShape<d>::rows), key_tiles = ceil_div(a.tk, KeyShape<d>::rows);
  if (total > 0)
    launch(query_gradients<E, d>, "attend (16 bits, backward, queries)", in_a_row(a.batch * a.heads * query_tiles),
           {threads}, QueryShape<d>::elements * sizeof(uint16_t), scene(a), x, int(query_tiles));
  if (a.batch * a.kv_heads * key_tiles > 0)
    launch(key_gradients<E, d>, "attend (16 bits, backward, keys)", in_a_row(a.batch * a.kv_heads * key_tiles),
           {threads}, KeyShape<d>::elements * sizeof(uint16_t), scene(a), x, int(key_tiles));
}

}  // namespace

template <class E>
void backward(AttendHalfArgs<E> const& a, AttendHalfGradArgs<E> const& g) {
  (a.d == 64 ? launch_backward<E, 64> : launch_backward<E, 128>)(a, g);
}
template void backward(AttendHalfArgs<bfloat16> const&, AttendHalfGradArgs<bfloat16> const&);
template void backward(AttendHalfArgs<float16> const&, AttendHalfGradArgs<float16> const&);

}  // namespace half_attention
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
