// Gradients of attention on a device, and of sums of scores: with respect to queries, keys, values, and to the tables
// that recorded modifications read.
#include <heed/engine/ops/attend_threads.h>

#include <vector>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace attention {
namespace {

/// A power of two: the largest slope is less than 2^(62 − spare) of it. 0: a slope is not finite.
inline __device__ double sink_unit(unsigned long long peak, int spare) {
  double const most = __longlong_as_double((long long)(peak));
  if (odd_number(most)) return 0;
  int exponent = int(peak >> 52) - 1022 - (62 - spare);  // most < 2^(biased − 1022)
  return ::ldexp(1.0, exponent < -1022 ? -1022 : exponent);
}

/// ds, with respect to what the program makes of the scores s, becomes that with respect to s; tables get theirs.
template <class T>
HEED_NOINLINE __device__ void slopes_of_program(ProgramView<T> program, T* shared, int64_t query, int64_t key,
                                                uint32_t bits, T const (*s)[4], T (*ds)[4], TableSums to) {
  T local[program_locals][4];
  for (int r = 0; r < 4; ++r) {
    place_inputs(local, query + r, key);
    for (int c = 0; c < 4; ++c) local[0][c] = s[r][c], local[3][c] = ds[r][c];
    run_program(program, local, shared);
    auto const output = [&](int k, int c) { return program_operand<T>(program.outputs[k], local, shared, c); };
    for (int c = 0; c < 4; ++c) ds[r][c] = bits >> (4 * r + c) & 1 ? output(0, c) : T(0);
    if (to.pass == TableSums::none) continue;
    for (int k = 0; k < to.count; ++k) {
      AttendSink const& sink = to.sinks[k];
      for (int c = 0; c < 4; ++c) {
        double const value = bits >> (4 * r + c) & 1 ? double(output(1 + 4 * k, c)) : 0;
        if (value == 0) continue;
        if (to.pass == TableSums::measure) {
          atomicMax(to.peaks + k, (unsigned long long)(__double_as_longlong(::fabs(value))));
          continue;
        }
        int64_t place = 0;
        for (int axis = 0; axis < 3; ++axis)
          if (sink.stride[axis]) place += table_place(output(2 + 4 * k + axis, c), sink.size[axis]) * sink.stride[axis];
        double const unit = sink_unit(to.peaks[k], to.spare_bits);
        if (unit > 0) atomicAdd(to.sums[k] + place, (unsigned long long)((long long)(::rint(value / unit))));
      }
    }
  }
}

/// Weights (with dropout) and dS of a tile, of which something is seen.
template <class T, class S>
struct Tile {
  T w[4][4], ds[4][4];
  uint32_t bits;

  /// dout_rows: of the query tile; kept: its queries in shared memory, or null.
  __device__ void compute(Block<T, S>& block, Scene<T> const& a, Slopes<T> const& x, T const* kept, T const* q,
                          T const* dout, int64_t i, int queries, int64_t j, int keys) {
    int64_t const b = block.b, h = block.h;
    T raw[4][4];  // of a program: in local memory
    block.scores(w, raw, kept, q, i, queries, j, keys);
    if (S::programs && x.sums_slope) {
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          int64_t const row = i + block.ty * 4 + r, column = j + block.tx * 4 + c;
          T const* const of_head = x.sums_slope + (b * a.heads + h) * (x.over_queries ? a.tk : a.tq);
          ds[r][c] = bits >> (4 * r + c) & 1 ? of_head[x.over_queries ? column : row] : T(0);
        }
    } else {
      block.products(ds, nullptr, dout, x.dout.row, queries, x.dout.aligned, a.row(a.v, b, a.key_head(h), j), a.v.row,
                     keys, a.v.aligned, a.dv);
    }
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
    if (!S::programs || !a.slope.steps) return;
    T box[4][4];
    Block<T, S>::copy(box, ds);
    slopes_of_program(a.slope, block.uniform[2], i + block.ty * 4 + a.tk - a.tq, j + block.tx * 4, bits, raw, box,
                      x.tables);
    Block<T, S>::copy(ds, box);
  }
};

template <class T, class S>
__global__ void __launch_bounds__(S::threads, S::blocks)
    query_gradients(Scene<T> a, Slopes<T> x, int64_t query_tiles, int slices) {
  HEED_DYNAMIC_SHARED(T, shared);
  constexpr int tile = S::tile;
  int const column = int(blockIdx.x) % slices * S::columns, heads = int(gridDim.x / (query_tiles * slices));
  QueryTile<T, S> own(a, shared, blockIdx.x / slices, query_tiles, heads);
  auto& block = own.block;
  int const b = block.b, h = block.h, g = int(a.key_head(h));
  int64_t const i = own.i;
  T const* const dout = x.dout.at + b * x.dout.batch + h * x.dout.head + i * x.dout.row;

  T dq[4][S::groups * 4] = {};
  own.each(0, own.walk.count, [&](int64_t j, int keys, bool full, uint32_t bits) {
    Tile<T, S> t;
    t.bits = bits;
    t.compute(block, a, x, own.kept, own.q, dout, i, own.queries, j, keys);
    if (x.tables.pass == TableSums::add) return;
    block.template put_weights<false>(t.ds);
    if (!full) block.put_seen(bits);
    block.add_weighted(dq, a.row(a.k, b, g, j) + column, a.k.row, keys, a.d - column, a.k.aligned, !full, nullptr);
  });
  if (x.tables.pass == TableSums::add) return;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    int const row = block.ty * 4 + r;
    if (row >= own.queries) continue;
    T* const to = x.dq.at + b * x.dq.batch + h * x.dq.head + (i + row) * x.dq.row;
#pragma unroll
    for (int c = 0; c < S::groups * 4; ++c) {
      int64_t const y = column + c / 4 * tile + block.tx * 4 + c % 4;
      if (y < a.d) to[y] = a.scale * dq[r][c];
    }
  }
}

template <class T, class S>
__global__ void __launch_bounds__(S::threads, S::key_blocks)
    key_gradients(Scene<T> a, Slopes<T> x, int64_t key_tiles, int slices) {
  HEED_DYNAMIC_SHARED(T, shared);
  constexpr int tile = S::tile;
  int64_t const id = blockIdx.x, slice = id % slices, heads = gridDim.x / (key_tiles * slices);
  int64_t const head = id / slices % heads, b = head / a.kv_heads, g = head % a.kv_heads, column = slice * S::columns;
  KeyTile<T, S> own(a, shared, id / slices / heads);
  auto& block = own.block;
  int64_t const j = own.j;

  // Rows are keys here, as sums go; tiles of weights keep queries as rows.
  T dk[4][S::groups * 4] = {}, dv[4][S::groups * 4] = {};
  int64_t const group = a.heads / a.kv_heads;
#pragma unroll 1
  for (int64_t h = g * group; h < (g + 1) * group; ++h)
    own.each(b, h, [&](T const* q, int64_t i, int queries, uint32_t bits) {
      Tile<T, S> t;
      t.bits = bits;
      T const* const dout = x.dout.at + b * x.dout.batch + h * x.dout.head + i * x.dout.row;
      T const* const norms = a.direct ? nullptr : x.lse + (b * a.heads + h) * a.tq + i;
      t.compute(block, a, x, nullptr, q, dout, i, queries, j, own.keys);
      if (column < a.dv) {
        block.template put_weights<true>(t.w);
        block.add_weighted(dv, dout + column, x.dout.row, queries, a.dv - column, x.dout.aligned, false, norms);
      }
      if (column < a.d) {
        __syncthreads();
        block.template put_weights<true>(t.ds);
        block.add_weighted(dk, q + column, a.q.row, queries, a.d - column, a.q.aligned, false, norms);
      }
    });
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    int const row = block.ty * 4 + r;
    if (row >= own.keys) continue;
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

template <class T, class S>
void launch_gradients(AttendArgs<T> const& a, Scene<T> const& s, Slopes<T> x) {
  int64_t const query_tiles = ceil_div(a.tq, S::tile), key_tiles = ceil_div(a.tk, S::tile);
  int64_t const dq_slices = s.d > 0 ? ceil_div(s.d, S::columns) : 1;
  int64_t const widest = s.d > s.dv ? s.d : s.dv, slices = widest > 0 ? ceil_div(widest, S::columns) : 1;
  auto const queries = [&](TableSums::Pass pass, int64_t with_slices) {
    x.tables.pass = pass;
    int64_t const blocks = a.batch * a.heads * query_tiles * with_slices;
    if (blocks > 0)
      launch(query_gradients<T, S>, "attend (backward, queries)", in_a_row(blocks), {S::threads},
             shared_bytes<T, S>(s, kept_depth(s)), s, x, query_tiles, int(with_slices));
  };
  queries(x.tables.count ? TableSums::measure : TableSums::none, dq_slices);
  if (x.tables.count) queries(TableSums::add, 1);
  x.tables.pass = TableSums::none;
  int64_t const blocks = a.batch * a.kv_heads * key_tiles * slices;
  if (blocks > 0)
    launch(key_gradients<T, S>, "attend (backward, keys)", in_a_row(blocks), {S::threads}, shared_bytes<T, S>(s, 0), s,
           x, key_tiles, int(slices));
}

/// Integers in units of the largest slope become numbers.
__global__ void __launch_bounds__(256)
    finish_sink(AttendSink sink, unsigned long long const* sums, unsigned long long const* peak, int spare) {
  double const unit = sink_unit(*peak, spare);
  double const bad = __longlong_as_double(0x7ff8000000000000ll);
  for (int64_t at = int64_t(blockIdx.x) * 256 + threadIdx.x; at < sink.numel; at += int64_t(gridDim.x) * 256)
    sink.sum[at] += unit > 0 ? double((long long)(sums[at])) * unit : bad;
}

}  // namespace

template <class T>
void all_gradients(AttendArgs<T> const& a, AttendGradArgs<T> const& g, Staged<T> const& staged, Slopes<T> x) {
  x.dq = rows(g.dq, a.d, g.dq_strides), x.dk = rows(g.dk, a.d, g.dk_strides), x.dv = rows(g.dv, a.dv, g.dv_strides);
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
    x.tables.sinks = sinks.data(), x.tables.count = g.sink_count, x.tables.peaks = sums.data();
    x.tables.sums = reinterpret_cast<unsigned long long* const*>(sums.data() + g.sink_count);
    double terms = double(a.batch * a.heads * a.tq) * double(a.tk);
    while (terms >= 1) terms /= 2, ++x.tables.spare_bits;
  }
  Scene<T> const& s = staged.scene;
  with_shape(staged, s.d > s.dv ? s.d : s.dv, [&]<class S>(S) { launch_gradients<T, S>(a, s, x); });
  unsigned long long const* at = sums.data() + 2 * g.sink_count;
  for (int k = 0; k < g.sink_count; ++k) {
    if (g.sinks[k].numel > 0)
      launch(finish_sink, "attend (backward, tables)",
             {unsigned(g.sinks[k].numel < 65536 ? ceil_div(g.sinks[k].numel, 256) : 256)}, {256}, 0, g.sinks[k], at,
             x.tables.peaks + k, x.tables.spare_bits);
    at += g.sinks[k].numel;
  }
}

template void all_gradients(AttendArgs<float> const&, AttendGradArgs<float> const&, Staged<float> const&,
                            Slopes<float>);
template void all_gradients(AttendArgs<double> const&, AttendGradArgs<double> const&, Staged<double> const&,
                            Slopes<double>);

}  // namespace attention
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
