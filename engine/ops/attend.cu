// Attention on a GPU, as in attend.simd.cpp: a block owns a tile of queries and walks over the tiles of keys that they
// see, with an online softmax; the backward pass computes scores again, once for dq (a block a query tile) and once for
// dk and dv (a block a key tile), so that nothing is added up by atomics.
#include <heed/engine/ops/attend_threads.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace attention {
namespace {

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
  int const slice = int(blockIdx.x) % slices, column = slice * S::columns;
  int const heads = int(gridDim.x / (query_tiles * slices));
  QueryTile<T, S> own(a, shared, blockIdx.x / slices, query_tiles, heads);
  auto& block = own.block;
  int const b = block.b, h = block.h, g = int(a.key_head(h));
  int64_t const i = own.i;

  T o[4][S::groups * 4] = {};
  T top[4], sum[4];
#pragma unroll
  for (int r = 0; r < 4; ++r) top[r] = nothing<T>, sum[r] = 0;

  int64_t const parts_there = gridDim.y, part = blockIdx.y, count = own.walk.count;
  own.each(int(count * part / parts_there), int(count * (part + 1) / parts_there),
           [&](int64_t j, int keys, bool full, uint32_t bits) {
             T s[4][4];
             block.scores(s, nullptr, own.kept, own.q, i, own.queries, j, keys);
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
             block.add_weighted(o, a.row(a.v, b, g, j) + column, a.v.row, keys, a.dv - column, a.v.aligned, !full,
                                nullptr);
           });

#pragma unroll
  for (int r = 0; r < 4; ++r) {
#pragma unroll
    for (int distance = S::side / 2; distance > 0; distance /= 2)
      sum[r] += __shfl_xor_sync(warp::all, sum[r], distance);
    int const row = block.ty * 4 + r;
    if (row >= own.queries) continue;
    int64_t const at = own.head * a.tq + i + row;
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

// ---- host

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
  Slopes<T> x{};
  x.dout = rows(g.dout, a.dv, g.dout_strides), x.lse = g.lse;
  DeviceScratch<T> delta(a.direct ? 0 : total);
  x.delta = delta.data();
  if (!a.direct && total > 0)
    launch(prepare<T>, "attend (backward, rows)", in_a_row(ceil_div(total, 8)), {256}, 0, staged.scene,
           rows(g.out, a.dv, g.out_strides), x.dout, g.lse, g.dlse, delta.data(), total);
  all_gradients(a, g, staged, x);
}

}  // namespace
}  // namespace attention

extern AttendKernels const device_attend_kernels;
constinit AttendKernels const device_attend_kernels{{{attention::forward<float>, attention::backward<float>},
                                                     {attention::forward<double>, attention::backward<double>}}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
