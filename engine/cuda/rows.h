// What kernels over rows share: 16 bytes at a time, teams of threads with a row each, folds and maps over an axis.
// Which thread takes which element, and so the order of every sum, follows from the sizes alone, never from alignment.
#pragma once

#include <heed/engine/cuda/launch.h>

#include <cmath>
#include <limits>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

constexpr int warp_threads = 32, block_threads = 256;  // bounds of 256 threads and one block keep ptxas from spilling
constexpr unsigned all_lanes = 0xffffffffu;

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr int pack_size = int(16 / sizeof(T));

/// What one access moves.
template <class T>
struct alignas(16) Pack {
  T v[pack_size<T>];
};

template <class T>
__host__ __device__ inline bool is_aligned(T const* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

/// from[i·step] for i < count, `fill` beyond.
template <class T>
__device__ inline Pack<T> load(T const* from, int64_t step, int count, T fill) {
  if (step == 1 && count == pack_size<T> && is_aligned(from)) return *reinterpret_cast<Pack<T> const*>(from);
  Pack<T> p;
#pragma unroll
  for (int i = 0; i < pack_size<T>; ++i) p.v[i] = i < count ? from[i * step] : fill;
  return p;
}

template <class T>
__device__ inline void store(Pack<T> const& p, T* to, int count) {
  if (count == pack_size<T> && is_aligned(to)) {
    *reinterpret_cast<Pack<T>*>(to) = p;
    return;
  }
#pragma unroll
  for (int i = 0; i < pack_size<T>; ++i)
    if (i < count) to[i] = p.v[i];
}

/// f(p_i…) for every element.
template <class T, class F, class... P>
__device__ inline Pack<T> map_pack(F const& f, Pack<T> const& first, P const&... others) {
  Pack<T> to;
#pragma unroll
  for (int i = 0; i < pack_size<T>; ++i) to.v[i] = f(first.v[i], others.v[i]...);
  return to;
}

/// The pack's elements combined as a balanced tree.
template <class T, class F>
__device__ inline T fold_pack(F const& join, Pack<T> p) {
#pragma unroll
  for (int d = pack_size<T> / 2; d > 0; d /= 2)
#pragma unroll
    for (int i = 0; i < d; ++i) p.v[i] = join(p.v[i], p.v[i + d]);
  return p.v[0];
}

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
/// The greater; NaNs are passed over, unless all are. For shifts whose NaNs show up elsewhere.
struct AnyMax {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b > a ? b : a;
  }
};

__device__ inline float shuffle_xor(float v, int d) { return __shfl_xor_sync(all_lanes, v, d); }
__device__ inline double shuffle_xor(double v, int d) { return __shfl_xor_sync(all_lanes, v, d); }
__device__ inline int64_t shuffle_xor(int64_t v, int d) {
  return __shfl_xor_sync(all_lanes, static_cast<long long>(v), d);
}

/// All values of a team of `width` threads (a power of two, at most a block, whole warps call) combined; every thread
/// gets the same bits. slots: one a warp of the block.
template <class A, class Join>
__device__ inline A fold_team(A a, Join const& join, int width, A* slots) {
  int const lane = int(threadIdx.x) % warp_threads;
#pragma unroll
  for (int d = warp_threads / 2; d > 0; d /= 2) {
    if (d >= width) continue;
    A const other = shuffle_xor(a, d);
    a = lane & d ? join(other, a) : join(a, other);
  }
  if (width > warp_threads) {
    if (lane == 0) slots[threadIdx.x / warp_threads] = a;
    __syncthreads();
    a = slots[0];
    for (int w = 1; w < width / warp_threads; ++w) a = join(a, slots[w]);
    __syncthreads();
  }
  return a;
}

/// How [rows, n] is shared out: teams of `width` threads, `parts` of a row of `size` elements each.
struct RowSplit {
  int width;
  int64_t parts, size, tasks;
  __device__ int lane() const { return int(threadIdx.x) % width; }
  __device__ int64_t task() const { return int64_t(blockIdx.x) * (block_threads / width) + int(threadIdx.x) / width; }
  rt::Dim grid() const { return in_a_row((tasks * width + block_threads - 1) / block_threads); }
};

/// `turns` packs a thread.
inline RowSplit split_rows(int64_t rows, int64_t n, int pack, int turns) {
  int const width = n <= 8 * pack ? 4 : n <= 256 * pack ? warp_threads : block_threads;
  int64_t const size = int64_t(turns) * block_threads * pack, parts = n <= size ? 1 : (n + size - 1) / size;
  return {width, parts, size, rows * parts};
}

/// f(row, k, count) for every pack of [rows, n]: elements k … k+count-1 of the row.
template <class T, class F>
__global__ void __launch_bounds__(block_threads, 1) map_rows_kernel(F f, RowSplit split, int64_t n) {
  int64_t const task = split.task();
  if (task >= split.tasks) return;
  int64_t const row = split.parts == 1 ? task : task / split.parts, begin = (task - row * split.parts) * split.size;
  int64_t const end = n - begin < split.size ? n : begin + split.size;
  constexpr int V = pack_size<T>;
  for (int64_t k = begin + split.lane() * V; k < end; k += split.width * V) f(row, k, end - k < V ? int(end - k) : V);
}
template <class T, class F>
void map_rows(char const* name, F const& f, int64_t rows, int64_t n) {
  if (rows == 0 || n == 0) return;
  RowSplit const split = split_rows(rows, n, pack_size<T>, 2);
  launch(map_rows_kernel<T, F>, name, split.grid(), {block_threads}, 0, f, split, n);
}

/// Part of a fold over the middle axis of [outer, n, inner]: the elements o, k + i·stride, j for i < count, which lie
/// at at + i·step.
struct Run {
  int64_t o, k, j, stride, at, step;
  int count;
};

/// A fold is a struct with: Acc, pack (the most elements of a run), identity(), add(acc, run), join(a, b) for a of
/// lower places, finish(acc, i) for place i of [outer, inner]. With `partial` results go there instead of to finish.
template <class Fold>
__global__ void __launch_bounds__(block_threads, 1)
    fold_rows_kernel(Fold fold, typename Fold::Acc* partial, RowSplit split, int64_t n) {
  using Acc = typename Fold::Acc;
  HEED_SHARED(Acc, slots, block_threads / warp_threads);
  constexpr int V = Fold::pack;
  int64_t const task = split.task(), row = split.parts == 1 ? task : task / split.parts;
  int64_t const begin = (task - row * split.parts) * split.size;
  bool const live = task < split.tasks;
  int64_t const end = !live ? begin : n - begin < split.size ? n : begin + split.size;
  Acc acc = fold.identity();
  for (int64_t k = begin + split.lane() * V; k < end; k += split.width * V)
    fold.add(acc, Run{row, k, 0, 1, row * n + k, 1, end - k < V ? int(end - k) : V});
  acc = fold_team(
      acc, [&](Acc const& a, Acc const& b) { return fold.join(a, b); }, split.width, static_cast<Acc*>(slots));
  if (!live || split.lane() != 0) return;
  if (partial)
    partial[task] = acc;
  else
    fold.finish(acc, row);
}

/// A block takes `columns` of inner and `size` places of n, which `groups` of threads take in turns.
struct ColumnSplit {
  int columns, groups;
  int64_t tiles, parts, size;
};

inline ColumnSplit split_columns(int64_t n, int64_t inner) {
  int const narrow = inner < warp_threads ? int(inner) : warp_threads;
  int64_t const wanted = n < 8 ? 1 : n / 4;
  int const groups = wanted < block_threads / narrow ? int(wanted) : block_threads / narrow;
  int const columns = inner < block_threads / groups ? int(inner) : block_threads / groups;
  int64_t const size = 64 * groups, parts = n <= size ? 1 : (n + size - 1) / size;
  return {columns, groups, (inner + columns - 1) / columns, parts, size};
}

template <class Fold>
__global__ void __launch_bounds__(block_threads, 1)
    fold_columns_kernel(Fold fold, typename Fold::Acc* partial, ColumnSplit split, int64_t n, int64_t inner) {
  using Acc = typename Fold::Acc;
  HEED_SHARED(Acc, slots, block_threads);
  constexpr int V = Fold::pack;
  int const column = int(threadIdx.x) % split.columns, group = int(threadIdx.x) / split.columns;
  int64_t const tile = blockIdx.x % split.tiles, rest = blockIdx.x / split.tiles, part = rest % split.parts;
  int64_t const o = rest / split.parts, j = tile * split.columns + column, begin = part * split.size;
  bool const live = group < split.groups && j < inner;
  int64_t const end = !live ? begin : n - begin < split.size ? n : begin + split.size, stride = split.groups;
  Acc acc = fold.identity();
  for (int64_t k = begin + group; k < end; k += stride * V) {
    int const left = int(end - k + stride - 1) / split.groups;
    fold.add(acc, Run{o, k, j, stride, (o * n + k) * inner + j, stride * inner, left < V ? left : V});
  }
  slots[threadIdx.x] = acc;
  for (int left = split.groups; left > 1;) {
    int const half = (left + 1) / 2;
    __syncthreads();
    if (group + half < left) {
      acc = fold.join(acc, slots[threadIdx.x + unsigned(half * split.columns)]);
      slots[threadIdx.x] = acc;
    }
    left = half;
  }
  if (!live || group != 0) return;
  if (partial)
    partial[(o * split.parts + part) * inner + j] = acc;
  else
    fold.finish(acc, o * inner + j);
}

/// The fold of a fold's partial results.
template <class Fold>
struct Joined {
  using Acc = typename Fold::Acc;
  static constexpr int pack = 4;
  Fold fold;
  Acc const* from;
  __device__ Acc identity() const { return fold.identity(); }
  __device__ void add(Acc& acc, Run const& run) const {
    for (int i = 0; i < run.count; ++i) acc = fold.join(acc, from[run.at + i * run.step]);
  }
  __device__ Acc join(Acc const& a, Acc const& b) const { return fold.join(a, b); }
  __device__ void finish(Acc const& acc, int64_t i) const { fold.finish(acc, i); }
};
template <class Fold>
constexpr bool is_joined = false;
template <class Fold>
constexpr bool is_joined<Joined<Fold>> = true;

/// Folds the middle axis of [outer, n, inner]; long axes in parts whose results are joined. Results go to finish, or
/// to `to` [outer, inner] where it is given.
template <class Fold>
void fold_axis(char const* name, Fold const& fold, int64_t outer, int64_t n, int64_t inner,
               typename Fold::Acc* to = nullptr) {
  if (outer * inner == 0) return;
  using Acc = typename Fold::Acc;
  auto const over_rows = [&](Acc* partial, RowSplit const& split) {
    launch(fold_rows_kernel<Fold>, name, split.grid(), {block_threads}, 0, fold, partial, split, n);
  };
  auto const over_columns = [&](Acc* partial, ColumnSplit const& split) {
    int const threads = (split.columns * split.groups + warp_threads - 1) / warp_threads * warp_threads;
    launch(fold_columns_kernel<Fold>, name, in_a_row(outer * split.parts * split.tiles), {unsigned(threads)}, 0, fold,
           partial, split, n, inner);
  };
  auto const in_parts = [&](int64_t parts, auto const& split, auto const& run) {
    if (parts == 1) return run(to, split);
    DeviceScratch<Acc> const scratch(outer * parts * inner);
    run(scratch.data(), split);
    if constexpr (is_joined<Fold>)
      fold_axis(name, Fold{fold.fold, scratch.data()}, outer, parts, inner, to);
    else
      fold_axis(name, Joined<Fold>{fold, scratch.data()}, outer, parts, inner, to);
  };
  if constexpr (!is_joined<Fold>)
    if (inner == 1) {
      RowSplit const split = split_rows(outer, n, Fold::pack, 8);
      return in_parts(split.parts, split, over_rows);
    }
  ColumnSplit const split = split_columns(n, inner);
  in_parts(split.parts, split, over_columns);
}

/// One row's team in a kernel that holds rows in registers: `packs` a thread, W threads a row. A pass that only loads
/// comes first, so that all of a thread's loads are under way at once.
template <int W, int P, class T>
struct Team {
  static constexpr int packs = P;
  using Type = T;
  bool live;  ///< false where the team has no row; n is 0 then
  int64_t n;
  T* slots;
  /// f(p, k, count): this thread's pack p holds elements k … k+count-1.
  template <class F>
  __device__ void each(F const& f) const {
    constexpr int V = pack_size<T>;
    int const lane = int(threadIdx.x) % W;
#pragma unroll
    for (int p = 0; p < P; ++p) {
      int64_t const k = (p * W + lane) * V;
      if (k < n) f(p, k, n - k < V ? int(n - k) : V);
    }
  }
  template <class Join>
  __device__ T fold(T v, Join const& join) const {
    return fold_team(v, join, W, slots);
  }
  __device__ bool first() const { return live && threadIdx.x % W == 0; }
};

/// f(team, row) for every row of [rows, n].
template <int W, int P, class T, class F>
__global__ void __launch_bounds__(block_threads, 1) held_rows_kernel(F f, int64_t rows, int64_t n) {
  HEED_SHARED(T, slots, block_threads / warp_threads);
  int64_t const row = int64_t(blockIdx.x) * (block_threads / W) + int(threadIdx.x) / W;
  f(Team<W, P, T>{row < rows, row < rows ? n : 0, static_cast<T*>(slots)}, row);
}

/// Whether rows of n fit into registers, and then f(team, row) for each.
template <class T, class F>
bool held_rows(char const* name, F const& f, int64_t rows, int64_t n) {
  int64_t const packs = (n + pack_size<T> - 1) / pack_size<T>;
  auto const run = [&](void (*kernel)(F, int64_t, int64_t), int width) {
    if (rows > 0)
      launch(kernel, name, in_a_row((rows * width + block_threads - 1) / block_threads), {block_threads}, 0, f, rows,
             n);
    return true;
  };
  if (packs <= 8) return run(held_rows_kernel<4, 2, T, F>, 4);
  if (packs <= 256) return run(held_rows_kernel<32, 8, T, F>, 32);
  if (packs <= 1024) return run(held_rows_kernel<256, 4, T, F>, 256);
  return false;
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
