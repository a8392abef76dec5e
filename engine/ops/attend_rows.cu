// Sums of functions of scores and thresholds of rows of scores, on a device. Sums walk over tiles as attention does.
// Thresholds go over a row's scores many times: rows are written to scratch memory, as many at a time as its bound
// allows, and a warp takes each.
#include <heed/engine/ops/attend_threads.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace attention {
namespace {

template <class T>
using RowShape = Shape<T, 32, 32>;

/// [B, H, Tq]: Σ_j s_ij
template <class T, class S>
__global__ void __launch_bounds__(S::threads, S::blocks) sum_rows(Scene<T> a, T* sums, int64_t query_tiles) {
  HEED_DYNAMIC_SHARED(T, shared);
  QueryTile<T, S> own(a, shared, blockIdx.x, query_tiles, gridDim.x / query_tiles);
  auto& block = own.block;
  T sum[4] = {};
  own.each(0, own.walk.count, [&](int64_t j, int keys, bool, uint32_t bits) {
    T s[4][4];
    block.scores(s, nullptr, own.kept, own.q, own.i, own.queries, j, keys);
#pragma unroll
    for (int x = 0; x < 16; ++x) sum[x / 4] += bits >> x & 1 ? s[x / 4][x % 4] : T(0);
  });
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    sum[r] = warp::sum<S::side>(sum[r]);
    int const row = block.ty * 4 + r;
    if (block.tx == 0 && row < own.queries) sums[own.head * a.tq + own.i + row] = sum[r];
  }
}

/// [B, H, Tk]: Σ_i s_ij
template <class T, class S>
__global__ void __launch_bounds__(S::threads, S::blocks) sum_columns(Scene<T> a, T* sums, int64_t key_tiles) {
  HEED_DYNAMIC_SHARED(T, shared);
  KeyTile<T, S> own(a, shared, blockIdx.x % key_tiles);
  auto& block = own.block;
  int64_t const head = blockIdx.x / key_tiles;
  T sum[4] = {};
  own.each(head / a.heads, head % a.heads, [&](T const* q, int64_t i, int queries, uint32_t bits) {
    T s[4][4];
    block.scores(s, nullptr, nullptr, q, i, queries, own.j, own.keys);
#pragma unroll
    for (int x = 0; x < 16; ++x) sum[x % 4] += bits >> x & 1 ? s[x / 4][x % 4] : T(0);
  });
  __syncthreads();
#pragma unroll
  for (int c = 0; c < 4; ++c) block.weights[block.ty * S::pitch + block.tx * 4 + c] = sum[c];
  __syncthreads();
  int const column = int(threadIdx.x);
  if (column >= own.keys) return;
  T total = 0;
  for (int y = 0; y < S::side; ++y) total += block.weights[y * S::pitch + column];
  sums[head * a.tk + own.j + column] = total;
}

/// Scores of the query tiles from `first` on, a block each: [tile][S::tile][Tk], −∞ where nothing is seen.
template <class T, class S>
__global__ void __launch_bounds__(S::threads, S::blocks)
    write_rows(Scene<T> a, T* rows, int64_t first, int64_t query_tiles, int64_t heads) {
  HEED_DYNAMIC_SHARED(T, shared);
  QueryTile<T, S> own(a, shared, first + blockIdx.x, query_tiles, heads);
  auto& block = own.block;
  T* const to = rows + int64_t(blockIdx.x) * S::tile * a.tk;
  for (int64_t x = threadIdx.x; x < own.queries * a.tk; x += S::threads) to[x] = nothing<T>;
  __syncthreads();
  own.each(0, own.walk.count, [&](int64_t j, int keys, bool, uint32_t bits) {
    T s[4][4];
    block.scores(s, nullptr, own.kept, own.q, own.i, own.queries, j, keys);
#pragma unroll
    for (int x = 0; x < 16; ++x)
      if (bits >> x & 1) to[(block.ty * 4 + x / 4) * a.tk + j + block.tx * 4 + x % 4] = s[x / 4][x % 4];
  });
}

/// x^power for x > 0, 0 elsewhere.
template <class T>
__device__ inline T positive_power(T x, T power) {
  if (!(x > 0)) return x == x ? T(0) : x;
  return power == 0 ? T(1) : power == 1 ? x : power == 2 ? x * x : ::exp(::log(x) * power);
}

/// τ with Σ_j max((α − 1)·s_j − τ, 0)^(1/(α−1)) = 1: Newton's steps within a bracket that halves. +∞ where nothing is
/// seen: that has no weight whatever τ is.
template <class T>
__device__ T entmax_threshold(T const* row, int64_t n, double alpha) {
  T const scale = T(alpha - 1), power = T(1 / (alpha - 1));
  T top = nothing<T>;
  for (int64_t j = warp::lane(); j < n; j += 32) top = row[j] > top ? row[j] : top;
  top = warp::max(top);
  if (top == nothing<T>) return -nothing<T>;
  // All of the weight on one key: τ = top − 1; spread over many, more.
  T high = top * scale, low = high - 1, tau = low;
  for (int step = 0; step < (sizeof(T) == 4 ? 40 : 70); ++step) {
    T total = 0, slope = 0;
    for (int64_t j = warp::lane(); j < n; j += 32) {
      T const x = row[j] * scale - tau, less = positive_power(x, power - 1);
      if (less != 0) total += less * x, slope += less;
    }
    T const excess = warp::sum(total) - 1;
    slope = warp::sum(slope);
    if (excess > 0)
      low = tau;
    else
      high = tau;
    T next = tau + excess / (slope * power);
    if (!(next > low && next < high)) next = (low + high) / 2;
    if (next == tau) break;
    tau = next;
  }
  return tau;
}

/// Floats and their order as integers: negative ones turned round. An involution.
__device__ inline int turned(int x) { return x ^ (x >> 31 & 0x7fffffff); }
__device__ inline int64_t turned(int64_t x) { return x ^ (x >> 63 & 0x7fffffffffffffff); }
__device__ inline int ordered(float x) { return turned(__float_as_int(x)); }
__device__ inline int64_t ordered(double x) { return turned(int64_t(__double_as_longlong(x))); }
__device__ inline float number(int x) { return __int_as_float(turned(x)); }
__device__ inline double number(int64_t x) { return __longlong_as_double((long long)(turned(x))); }

/// The count-th largest score; −∞ where there are fewer. Its order is the largest integer, in steps of falling powers
/// of two above that of −∞, which `count` scores reach.
template <class T>
__device__ T kth_threshold(T const* row, int64_t n, int64_t count) {
  auto best = ordered(nothing<T>);
  auto const greatest = ordered(-nothing<T>);
  for (int bit = int(sizeof(T)) * 8 - 1; bit >= 0; --bit) {
    auto const next = decltype(best)(uint64_t(best) + (uint64_t(1) << bit));
    if (next <= best || next > greatest) continue;
    T const bound = number(next);
    int64_t reach = 0;
    for (int64_t j = warp::lane(); j < n; j += 32) reach += row[j] >= bound;
    if (warp::sum(reach) >= count) best = next;
  }
  return number(best);
}

/// Half way from `level` down to the next lower score, so that scores computed in another order fall on the same side.
template <class T>
__device__ T below_threshold(T const* row, int64_t n, T level) {
  T next = nothing<T>;
  for (int64_t j = warp::lane(); j < n; j += 32)
    if (row[j] < level && row[j] > next) next = row[j];
  return level / 2 + warp::max(next) / 2;
}

template <class T>
__global__ void __launch_bounds__(128)
    find_thresholds(Scene<T> a, T const* rows, RowThreshold kind, double parameter, T* to, int tile, int64_t first,
                    int64_t tiles, int64_t query_tiles, int64_t heads) {
  int64_t const number = int64_t(blockIdx.x) * 4 + threadIdx.x / 32;
  int64_t const id = first + number / tile, i = (query_tiles - 1 - id / heads) * tile + number % tile;
  if (number >= tiles * tile || i >= a.tq) return;
  T const* const row = rows + number * a.tk;
  T found = kind == RowThreshold::entmax ? entmax_threshold(row, a.tk, parameter)
                                         : kth_threshold(row, a.tk, int64_t(parameter));
  if (kind == RowThreshold::below_largest) found = below_threshold(row, a.tk, found);
  if (warp::lane() == 0) to[id % heads * a.tq + i] = found;
}

template <class T>
void sum(AttendArgs<T> const& a, bool over_queries, T* sums) {
  using S = RowShape<T>;
  Staged<T> const staged(a);
  Scene<T> const& s = staged.scene;
  int64_t const heads = a.batch * a.heads, tiles = ceil_div(over_queries ? a.tk : a.tq, S::tile);
  if (heads * tiles == 0) return;
  if (over_queries)
    launch(sum_columns<T, S>, "score_sum", in_a_row(heads * tiles), {S::threads}, shared_bytes<T, S>(s, 0), s, sums,
           tiles);
  else
    launch(sum_rows<T, S>, "score_sum", in_a_row(heads * tiles), {S::threads}, shared_bytes<T, S>(s, kept_depth(s)), s,
           sums, tiles);
}

template <class T>
void sum_backward(AttendArgs<T> const& a, bool over_queries, T const* g, AttendGradArgs<T> const& to) {
  AttendArgs<T> scores = a;
  scores.direct = true, scores.dv = 0, scores.dropout = 0;
  Staged<T> const staged(scores, to.slope);
  Slopes<T> x{};
  x.sums_slope = g, x.over_queries = over_queries;
  all_gradients(scores, to, staged, x);
}

template <class T>
void threshold(AttendArgs<T> const& a, RowThreshold kind, double parameter, T* to) {
  row_thresholds(a, kind, parameter, to, int64_t{1} << 25);
}

}  // namespace

template <class T>
void row_thresholds(AttendArgs<T> const& a, RowThreshold kind, double parameter, T* to, int64_t most_scores) {
  using S = RowShape<T>;
  Staged<T> const staged(a);
  Scene<T> const& s = staged.scene;
  int64_t const heads = a.batch * a.heads, query_tiles = ceil_div(a.tq, S::tile), all = heads * query_tiles;
  int64_t const fit = a.tk > 0 ? most_scores / (S::tile * a.tk) : all, at_once = fit < 1 ? 1 : fit < all ? fit : all;
  DeviceScratch<T> const rows(at_once * S::tile * a.tk);
  for (int64_t first = 0; first < all; first += at_once) {
    int64_t const tiles = all - first < at_once ? all - first : at_once;
    launch(write_rows<T, S>, "attend (scores of rows)", in_a_row(tiles), {S::threads},
           shared_bytes<T, S>(s, kept_depth(s)), s, rows.data(), first, query_tiles, heads);
    launch(find_thresholds<T>, "attend (thresholds)", in_a_row(ceil_div(tiles * S::tile, 4)), {128}, 0, s, rows.data(),
           kind, parameter, to, S::tile, first, tiles, query_tiles, heads);
  }
}

template void row_thresholds(AttendArgs<float> const&, RowThreshold, double, float*, int64_t);
template void row_thresholds(AttendArgs<double> const&, RowThreshold, double, double*, int64_t);

}  // namespace attention

extern AttendRowsKernels const device_attend_rows_kernels;
constinit AttendRowsKernels const device_attend_rows_kernels{
    {{attention::sum<float>, attention::sum_backward<float>, attention::threshold<float>},
     {attention::sum<double>, attention::sum_backward<double>, attention::threshold<double>}}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
