// Scans along an axis by reduce-then-scan: parts of long lines are joined first; then each part starts from what those
// before it gave. No block waits for another. How lines are cut depends on their sizes alone.
#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/sort_keys.h>

#include <cstring>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

// ---- what is joined -------------------------------------------------------------------------------------------------
// A struct with: State (of 8 or 16 bytes), identity(), load(element), join(a, b) for a of what comes before b,
// store(element, state). An element lies at `element` of memory and has place `k` along its line.

template <class T>
using Wide = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

/// Reads 4 and writes 4 bytes an element (f32), one f64 addition; 4 more are read where lines are cut.
template <class T>
struct Sum {
  using State = Wide<T>;
  T const* x;
  T* y;
  __device__ State identity() const { return 0; }
  __device__ State load(int64_t e, int64_t) const { return State(x[e]); }
  __device__ State join(State a, State b) const { return a + b; }
  __device__ void store(int64_t e, State s) const { y[e] = T(s); }
};

template <class T>
struct Product {
  using State = Wide<T>;
  T const* x;
  T* y;
  __device__ State identity() const { return 1; }
  __device__ State load(int64_t e, int64_t) const { return State(x[e]); }
  __device__ State join(State a, State b) const { return a * b; }
  __device__ void store(int64_t e, State s) const { y[e] = T(s); }
};

/// log Σ = top + log sum. An infinite top carries the count of its likes, or 0.
template <class T>
struct alignas(2 * sizeof(T)) LogSum {
  T top, sum;
};

/// Reads 4 and writes 4 bytes an element (f32), up to three exponentials and a logarithm.
template <class T>
struct LogSumExp {
  using State = LogSum<T>;
  T const* x;
  T* y;
  __device__ State identity() const { return {-infinity<T>, 0}; }
  __device__ State load(int64_t e, int64_t) const {
    T const v = x[e];
    if (v != v) return {-infinity<T>, v};
    return {v, T(v == -infinity<T> ? 0 : 1)};
  }
  __device__ State join(State const& a, State const& b) const {
    if (a.top == b.top) return {a.top, a.sum + b.sum};
    if (b.top > a.top) return {b.top, a.sum * std::exp(a.top - b.top) + b.sum};
    return {a.top, a.sum + b.sum * std::exp(b.top - a.top)};
  }
  __device__ void store(int64_t e, State const& s) const { y[e] = s.top + std::log(s.sum); }
};

/// h → factor·h + offset
struct alignas(16) Affine {
  double factor, offset;
};

/// Reads 8 and writes 4 bytes an element (f32), three f64 products and sums.
template <class T>
struct Recurrence {
  using State = Affine;
  T const *a, *b;
  T* h;
  __device__ State identity() const { return {1, 0}; }
  __device__ State load(int64_t e, int64_t) const { return {double(a[e]), double(b[e])}; }
  __device__ State join(State const& first, State const& then) const {
    // From 0 the factors do not matter, even if they overflow.
    double const carried = first.offset == 0 ? 0 : then.factor * first.offset;
    return {first.factor * then.factor, carried + then.offset};
  }
  __device__ void store(int64_t e, State const& s) const { h[e] = T(s.offset); }
};

struct alignas(16) Best {
  uint64_t key;
  int64_t at;
};

/// Reads 4 and writes 8 bytes an element (f32).
struct Extreme {
  using State = Best;
  void const* x;
  Dtype dtype;
  bool largest;
  int64_t* at;
  __device__ State identity() const { return {0, 0}; }
  __device__ State load(int64_t e, int64_t k) const {
    uint64_t const key = key_of<uint64_t>(x, dtype, e);
    return {is_nan_key(key, dtype) ? ~uint64_t{0} : largest ? key : ~key, k};
  }
  __device__ State join(State const& a, State const& b) const { return b.key >= a.key ? b : a; }
  __device__ void store(int64_t e, State const& s) const { at[e] = s.at; }
};

// ---- a block -----------------------------------------------------------------------------------------------------

template <class State>
__device__ inline State shuffle_up(State const& state, unsigned by) {
  constexpr int words = sizeof(State) / 8;
  unsigned long long word[words];
  std::memcpy(word, &state, sizeof state);
#pragma unroll
  for (int w = 0; w < words; ++w) word[w] = __shfl_up_sync(all_lanes, word[w], by);
  State from;
  std::memcpy(&from, word, sizeof from);
  return from;
}

/// What the threads before this one hold, joined; `all` what the whole block holds. slots: one a warp and one more.
template <class Op>
__device__ inline typename Op::State join_before(Op const& op, typename Op::State mine, typename Op::State* slots,
                                                 typename Op::State& all) {
  using State = typename Op::State;
  constexpr int warps = block_threads / warp_threads;
  int const warp = int(threadIdx.x) / warp_threads, lane = int(threadIdx.x) % warp_threads;
#pragma unroll
  for (int d = 1; d < warp_threads; d *= 2) {  // Hillis and Steele (1986)
    State const other = shuffle_up(mine, unsigned(d));
    if (lane >= d) mine = op.join(other, mine);
  }
  if (lane == warp_threads - 1) slots[warp] = mine;
  State before = shuffle_up(mine, 1);
  __syncthreads();
  State of_warps = op.identity();
  all = op.identity();
  for (int w = 0; w < warps; ++w) {
    if (w == warp) of_warps = all;
    all = op.join(all, slots[w]);
  }
  __syncthreads();
  return lane == 0 ? of_warps : op.join(of_warps, before);
}

// ---- lines of memory, a block for each part ----------------------------------------------------------------------

constexpr int each = 8, row_tile = each * block_threads;  // elements a thread, elements at a time

struct Parts {
  int64_t parts, size;
};

/// In shared memory, with a gap after what one thread takes so that its neighbours use other banks.
__device__ inline int slot_of(int i) { return i + i / each; }

/// With `collect` totals[line, part] = all of the part; else the scan, from the totals before the part.
template <class Op>
__global__ void __launch_bounds__(block_threads, 3)
    scan_rows(Op op, Parts split, int64_t n, bool reverse, typename Op::State* totals, bool collect) {
  using State = typename Op::State;
  HEED_SHARED(State, states, row_tile + row_tile / each);
  HEED_SHARED(State, slots, block_threads / warp_threads);
  int const t = int(threadIdx.x);
  int64_t const line = blockIdx.x / split.parts, part = blockIdx.x - line * split.parts, begin = part * split.size;
  int64_t const end = n - begin < split.size ? n : begin + split.size;
  State carry = op.identity();
  if (!collect && part > 0) {
    int64_t const share = (part + block_threads - 1) / block_threads, from = t * share;
    State mine = op.identity();
    for (int64_t p = from; p < from + share && p < part; ++p) mine = op.join(mine, totals[line * split.parts + p]);
    join_before(op, mine, static_cast<State*>(slots), carry);
  }
  int const wanted = int((end - begin + block_threads - 1) / block_threads), own = wanted < each ? wanted : each;
  for (int64_t first = begin; first < end; first += own * block_threads) {
    int const here = end - first < own * block_threads ? int(end - first) : own * block_threads;
    for (int i = t; i < here; i += block_threads) {
      int64_t const k = reverse ? n - 1 - first - i : first + i;
      states[slot_of(i)] = op.load(line * n + k, k);
    }
    __syncthreads();
    State mine = op.identity(), all;
    for (int i = t * own; i < t * own + own && i < here; ++i) mine = op.join(mine, states[slot_of(i)]);
    State sum = join_before(op, mine, static_cast<State*>(slots), all);
    if (!collect) {
      sum = op.join(carry, sum);
      for (int i = t * own; i < t * own + own && i < here; ++i)
        states[slot_of(i)] = sum = op.join(sum, states[slot_of(i)]);
      __syncthreads();
      for (int i = t; i < here; i += block_threads)
        op.store(line * n + (reverse ? n - 1 - first - i : first + i), states[slot_of(i)]);
    }
    carry = op.join(carry, all);
    __syncthreads();
  }
  if (collect && t == 0) totals[blockIdx.x] = carry;
}

/// A thread for each part of a line [outer, parts, inner], neighbours beside each other in memory.
template <class Op>
__global__ void __launch_bounds__(block_threads, 2)
    scan_columns(Op op, Parts split, int64_t lines, int64_t n, int64_t inner, bool reverse, typename Op::State* totals,
                 bool collect) {
  using State = typename Op::State;
  int64_t const task = int64_t(blockIdx.x) * block_threads + int(threadIdx.x);
  if (task >= lines * split.parts) return;
  int64_t const rest = task / inner, i = task - rest * inner, o = rest / split.parts, part = rest - o * split.parts;
  int64_t const begin = part * split.size, end = n - begin < split.size ? n : begin + split.size;
  State sum = op.identity();
  if (!collect)
    for (int64_t p = 0; p < part; ++p) sum = op.join(sum, totals[(o * split.parts + p) * inner + i]);
  constexpr int ahead = 4;  // loads in flight
  for (int64_t at = begin; at < end; at += ahead) {
    State in[ahead];
    int64_t k[ahead];
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      k[j] = reverse ? n - 1 - at - j : at + j;
      in[j] = at + j < end ? op.load((o * n + k[j]) * inner + i, k[j]) : op.identity();
    }
#pragma unroll
    for (int j = 0; j < ahead; ++j) {
      sum = op.join(sum, in[j]);
      if (!collect && at + j < end) op.store((o * n + k[j]) * inner + i, sum);
    }
  }
  if (collect) totals[task] = sum;
}

/// Parts of rows: enough to fill a device, at most 1024, whose totals a block adds up.
Parts parts_of_rows(int64_t outer, int64_t n) {
  int64_t const least = 4 * row_tile, wanted = (n + 1023) / 1024;
  if (n <= least || outer >= 256) return {1, n};
  int64_t const size = wanted < least ? least : (wanted + row_tile - 1) / row_tile * row_tile;
  return {(n + size - 1) / size, size};
}
/// Of columns at most 64.
Parts parts_of_columns(int64_t lines, int64_t n) {
  constexpr int64_t enough = 65536;  // threads
  int64_t const wanted = lines >= enough ? 1 : enough / lines, most = wanted < 64 ? wanted : 64;
  int64_t const count = n / 128 < most ? n / 128 : most;
  if (count <= 1) return {1, n};
  int64_t const size = (n + count - 1) / count;
  return {(n + size - 1) / size, size};
}

template <class Op>
void scan(char const* name, Op const& op, ScanAxis const& axis) {
  auto const [outer, n, inner, reverse] = axis;
  int64_t const lines = outer * inner;
  if (lines * n == 0) return;
  bool const rows = inner == 1 && n > warp_threads;
  Parts const split = rows ? parts_of_rows(outer, n) : parts_of_columns(lines, n);
  DeviceScratch<typename Op::State> const totals(split.parts > 1 ? lines * split.parts : 0);
  for (bool const collect : {true, false}) {
    if (collect && split.parts == 1) continue;
    if (rows)
      launch(scan_rows<Op>, name, in_a_row(lines * split.parts), {block_threads}, 0, op, split, n, reverse,
             totals.data(), collect);
    else
      launch(scan_columns<Op>, name, in_a_row((lines * split.parts + block_threads - 1) / block_threads),
             {block_threads}, 0, op, split, lines, n, inner, reverse, totals.data(), collect);
  }
}

/// f(Type<T>) for what sums and products are made of.
template <class F>
void by_type(Dtype dtype, F const& f) {
  if (dtype == Dtype::f32) f(Type<float>{});
  if (dtype == Dtype::f64) f(Type<double>{});
  if (dtype == Dtype::i64) f(Type<int64_t>{});
}

void sum(Dtype dtype, void const* x, void* y, ScanAxis const& axis) {
  by_type(dtype, [&]<class T>(Type<T>) { scan("cumsum", Sum<T>{static_cast<T const*>(x), static_cast<T*>(y)}, axis); });
}
void product(Dtype dtype, void const* x, void* y, ScanAxis const& axis) {
  by_type(dtype, [&]<class T>(Type<T>) {
    scan("cumprod", Product<T>{static_cast<T const*>(x), static_cast<T*>(y)}, axis);
  });
}
void logsumexp(Dtype dtype, void const* x, void* y, ScanAxis const& axis) {
  dispatch_floating("logcumsumexp", dtype, [&]<class T>(Type<T>) {
    scan("logcumsumexp", LogSumExp<T>{static_cast<T const*>(x), static_cast<T*>(y)}, axis);
  });
}
void recurrence(Dtype dtype, void const* a, void const* b, void* h, ScanAxis const& axis) {
  dispatch_floating("recurrence", dtype, [&]<class T>(Type<T>) {
    scan("recurrence", Recurrence<T>{static_cast<T const*>(a), static_cast<T const*>(b), static_cast<T*>(h)}, axis);
  });
}
void extreme(Dtype dtype, bool largest, void const* x, int64_t* at, ScanAxis const& axis) {
  scan(largest ? "cummax" : "cummin", Extreme{x, dtype, largest, at}, axis);
}

}  // namespace

constinit DeviceCumulativeKernels const device_cumulative_kernels{sum, product, logsumexp, recurrence, extreme};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
