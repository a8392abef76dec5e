// Reading and writing by index on an accelerator. What several values are to go to is sorted out first, so that each
// place is written by one thread, which takes its values in their order: no atomics, the same bits as on the processor.
#include <heed/engine/cuda/index_check.h>
#include <heed/engine/cuda/rows.h>
#include <heed/engine/cuda/whole.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/sort_device.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

__device__ int64_t this_thread() { return int64_t(blockIdx.x) * block_threads + int(threadIdx.x); }
rt::Dim blocks_of(int64_t threads) { return in_a_row((threads + block_threads - 1) / block_threads); }

// ---- places ---------------------------------------------------------------------------------------------------------

/// The place of position i; `range` says where a wrong index is noted.
__device__ inline int64_t place_of(IndexSpace const& s, int64_t i, IndexRange range) {
  int64_t at = s.base, in[IndexSpace::most_parts] = {};
  for (int axis = s.space.rank - 1; axis >= 0; --axis) {
    int64_t const next = i / s.space.shape[axis], here = i - next * s.space.shape[axis];
    at += here * s.space.stride[0][axis];
#pragma unroll
    for (int p = 0; p < IndexSpace::most_parts; ++p)
      if (p < s.parts) in[p] += here * s.part[p].steps[axis];
    i = next;
  }
#pragma unroll
  for (int p = 0; p < IndexSpace::most_parts; ++p)
    if (p < s.parts) {
      IndexPart const& part = s.part[p];
      range.low = part.low, range.size = part.size, range.axis = part.axis;
      at += range.place(part.index[in[p]]) * part.factor;
    }
  return at;
}

/// Reads 8 bytes an index, writes 8 a place.
__global__ void __launch_bounds__(block_threads, 1) find_starts(IndexSpace space, IndexRange range, int64_t* to) {
  int64_t const i = this_thread();
  if (i < space.space.numel) to[i] = place_of(space, i, range);
}

/// Reads 12 and writes 4 bytes an element (4-byte ones).
template <class E>
__global__ void __launch_bounds__(block_threads, 1)
    pick_elements(IndexSpace space, IndexRange range, E const* x, E* y) {
  int64_t const i = this_thread();
  if (i < space.space.numel) y[i] = x[place_of(space, i, range)];
}

void starts(char const* op, IndexSpace const& space, int64_t* to) {
  if (space.space.numel > 0)
    launch(find_starts, op, blocks_of(space.space.numel), {block_threads}, 0, space, index_range(op, 0, 1), to);
}

void pick(char const* op, IndexSpace const& space, void const* x, void* y, int size) {
  if (space.space.numel == 0) return;
  dispatch_size(size_t(size), [&]<class E>(Type<E>) {
    launch(pick_elements<E>, op, blocks_of(space.space.numel), {block_threads}, 0, space, index_range(op, 0, 1),
           static_cast<E const*>(x), static_cast<E*>(y));
  });
}

// ---- blocks ---------------------------------------------------------------------------------------------------------

/// Reads 4 and writes 4 bytes an element (4-byte ones), and reads 8 a block.
template <class E>
__global__ void __launch_bounds__(block_threads, 1) read_blocks(IndexBlocks blocks, E const* x, E* y) {
  int64_t const e = this_thread();
  if (e >= blocks.n * blocks.block) return;
  int64_t const i = blocks.block == 1 ? e : e / blocks.block;
  y[e] = x[blocks.starts[i] + e - i * blocks.block];
}

void read(IndexBlocks const& blocks, void const* x, void* y, int size) {
  if (blocks.n == 0) return;
  dispatch_size(size_t(size), [&]<class E>(Type<E>) {
    launch(read_blocks<E>, "index", blocks_of(blocks.n * blocks.block), {block_threads}, 0, blocks,
           static_cast<E const*>(x), static_cast<E*>(y));
  });
}

/// The entries, those of one place side by side and in their order.
struct Grouped {
  IndexBlocks blocks;
  int64_t const* order;  // null: every place has one entry
  __device__ int64_t entry(int64_t u) const { return order ? order[u] : u; }
  __device__ int64_t start(int64_t u) const { return blocks.starts[entry(u)]; }
  __device__ bool is_first(int64_t u) const { return !order || u == 0 || start(u - 1) != start(u); }
  __device__ bool is_last(int64_t u) const { return !order || u + 1 == blocks.n || start(u + 1) != start(u); }
};

template <class T>
__device__ inline T joined(AtPlace how, T a, T b) {
  switch (how) {
    case AtPlace::sum:
      if constexpr (std::is_same_v<T, bool>)
        return a || b;
      else
        return T(a + b);
    case AtPlace::product:
      return T(a * b);
    case AtPlace::largest:
      return a != a || a > b ? a : b;
    case AtPlace::smallest:
      return a != a || a < b ? a : b;
    default:
      return b;
  }
}

/// A thread for each element of the first entry of a place, which takes the others in turn. Reads 4 bytes a value and 4
/// an element and writes 4 (f32); and reads 24 to 32 bytes an entry.
template <class T>
__global__ void __launch_bounds__(block_threads, 1)
    join_blocks(AtPlace how, Grouped grouped, T const* values, bool one, T* y) {
  int64_t const e = this_thread(), n = grouped.blocks.n, block = grouped.blocks.block;
  if (e >= n * block) return;
  int64_t u = block == 1 ? e : e / block, j = e - u * block;
  auto const value = [&](int64_t entry) { return values[one ? 0 : entry * block + j]; };
  if (how == AtPlace::last) {
    if (grouped.is_last(u)) y[grouped.start(u) + j] = value(grouped.entry(u));
    return;
  }
  if (!grouped.is_first(u)) return;
  int64_t const start = grouped.start(u);
  T sum = joined(how, y[start + j], value(grouped.entry(u)));
  constexpr int ahead = 4;  // loads in flight
  for (++u; grouped.order && u < n;) {
    int64_t starts[ahead];
    T v[ahead];
#pragma unroll
    for (int i = 0; i < ahead; ++i) {
      int64_t const entry = grouped.order[u + i < n ? u + i : n - 1];
      starts[i] = grouped.blocks.starts[entry];
      v[i] = value(entry);
    }
    bool more = true;
#pragma unroll
    for (int i = 0; i < ahead; ++i) {
      more = more && u + i < n && starts[i] == start;
      if (more) sum = joined(how, sum, v[i]);
    }
    if (!more) break;
    u += ahead;
  }
  y[start + j] = sum;
}

__global__ void __launch_bounds__(block_threads, 1) find_last(Grouped grouped, bool* last) {
  int64_t const u = this_thread();
  if (u < grouped.blocks.n) last[grouped.entry(u)] = grouped.is_last(u);
}

/// f(the entries by place)
template <class F>
void grouped(IndexBlocks const& blocks, F const& f) {
  if (blocks.n == 0) return;
  bool const single = blocks.distinct || blocks.n == 1;
  DeviceScratch<int64_t> const order(single ? 0 : blocks.n);
  if (!single) sort_places("index", blocks.starts, blocks.n, blocks.limit, order.data());
  f(Grouped{blocks, order.data()});
}

/// f(Type<T>) with the type to compute in; elements that are only moved by their size.
template <class F>
void by_way(AtPlace how, Dtype dtype, F const& f) {
  size_t const size = size_of(dtype);
  if (how == AtPlace::last)
    dtype = size == 1 ? Dtype::u8 : size == 2 ? Dtype::i16 : size == 4 ? Dtype::i32 : Dtype::i64;
  dispatch(dtype, [&]<class T>(Type<T> type) {
    if constexpr (std::is_arithmetic_v<T>) f(type);  // 16-bit floats are computed in f32
  });
}

void write(AtPlace how, Dtype dtype, IndexBlocks const& blocks, void const* values, bool one, void* y) {
  grouped(blocks, [&](Grouped const& entries) {
    by_way(how, dtype, [&]<class T>(Type<T>) {
      launch(join_blocks<T>, "index", blocks_of(blocks.n * blocks.block), {block_threads}, 0, how, entries,
             static_cast<T const*>(values), one, static_cast<T*>(y));
    });
  });
}

void is_last(IndexBlocks const& blocks, bool* last) {
  grouped(blocks, [&](Grouped const& entries) {
    launch(find_last, "index", blocks_of(blocks.n), {block_threads}, 0, entries, last);
  });
}

// ---- elements other than 0 ------------------------------------------------------------------------------------------

struct Elements {
  void const* x;
  Dtype dtype;
  int64_t n, tile;
  __device__ bool nonzero(int64_t i) const { return load_truth(x, dtype, i); }
};

/// before[t + 1] = the elements other than 0 of tile t. Reads 4 bytes an element (4-byte ones).
__global__ void __launch_bounds__(block_threads, 1) count_nonzero(Elements from, int64_t* before) {
  HEED_SHARED(int64_t, slots, block_threads / warp_threads);
  int64_t const begin = blockIdx.x * from.tile, end = from.n - begin < from.tile ? from.n : begin + from.tile;
  int64_t count = 0;
  for (int64_t i = begin + int(threadIdx.x); i < end; i += block_threads) count += from.nonzero(i);
  count = fold_team(count, Plus(), block_threads, static_cast<int64_t*>(slots));
  if (threadIdx.x == 0) before[blockIdx.x + 1] = count;
}

/// The sums of all before, in place; one block.
__global__ void __launch_bounds__(block_threads, 1) scan_counts(int64_t* before, int64_t tiles) {
  HEED_SHARED(int64_t, sums, block_threads);
  int64_t carry = 0;
  if (threadIdx.x == 0) before[0] = 0;
  for (int64_t first = 1; first <= tiles; first += block_threads) {
    int64_t const at = first + int(threadIdx.x);
    int64_t sum = at <= tiles ? before[at] : 0;
    for (int d = 1; d < block_threads; d *= 2) {  // Hillis and Steele (1986)
      sums[threadIdx.x] = sum;
      __syncthreads();
      if (int(threadIdx.x) >= d) sum += sums[int(threadIdx.x) - d];
      __syncthreads();
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (at <= tiles) before[at] = carry + sum;
    carry += sums[block_threads - 1];
    __syncthreads();
  }
}

/// Reads 4 bytes an element (4-byte ones), writes 8 for each that is not 0.
__global__ void __launch_bounds__(block_threads, 1) write_positions(Elements from, int64_t const* before, int64_t* to) {
  constexpr int warps = block_threads / warp_threads;
  HEED_SHARED(int, counts, warps);
  int const warp = int(threadIdx.x) / warp_threads, lane = int(threadIdx.x) % warp_threads;
  int64_t const begin = blockIdx.x * from.tile, end = from.n - begin < from.tile ? from.n : begin + from.tile;
  int64_t next = before[blockIdx.x];
  for (int64_t first = begin; first < end; first += block_threads) {
    int64_t const i = first + int(threadIdx.x);
    bool const found = i < end && from.nonzero(i);
    unsigned const all = __ballot_sync(all_lanes, found);
    if (lane == 0) counts[warp] = __popc(all);
    __syncthreads();
    int64_t at = next + __popc(all & ((1u << lane) - 1));
    for (int w = 0; w < warps; ++w) {
      if (w < warp) at += counts[w];
      next += counts[w];
    }
    if (found) to[at] = i;
    __syncthreads();
  }
}

/// At most 4096 tiles, whose counts one block adds up.
int64_t tile_of(int64_t n) {
  int64_t const least = 8 * block_threads, wanted = (n + 4095) / 4096;
  return wanted < least ? least : (wanted + block_threads - 1) / block_threads * block_threads;
}
int64_t tiles(int64_t n) { return (n + tile_of(n) - 1) / tile_of(n); }

Elements elements_of(void const* x, Dtype dtype, int64_t n) { return {x, dtype, n, tile_of(n)}; }

void count(void const* x, Dtype dtype, int64_t n, int64_t* before) {
  if (n > 0) launch(count_nonzero, "nonzero", in_a_row(tiles(n)), {block_threads}, 0, elements_of(x, dtype, n), before);
  launch(scan_counts, "nonzero", {1}, {block_threads}, 0, before, tiles(n));
}

void positions(void const* x, Dtype dtype, int64_t n, int64_t const* before, int64_t* to) {
  if (n > 0)
    launch(write_positions, "nonzero", in_a_row(tiles(n)), {block_threads}, 0, elements_of(x, dtype, n), before, to);
}

/// Reads 8 bytes a place, writes 8 a coordinate.
__global__ void __launch_bounds__(block_threads, 1)
    write_coordinates(int64_t const* places, StridedWalk<1> walk, int64_t* to) {
  int64_t const i = this_thread();
  if (i >= walk.numel) return;
  int64_t rest = places[i];
  for (int axis = walk.rank - 1; axis >= 0; --axis) {
    int64_t const next = rest / walk.shape[axis];
    to[i * walk.rank + axis] = rest - next * walk.shape[axis];
    rest = next;
  }
}

void coordinates(int64_t const* places, int64_t n, int64_t const* shape, int rank, int64_t* to) {
  StridedWalk<1> walk{.rank = rank, .numel = n};
  for (int axis = 0; axis < rank; ++axis) walk.shape[axis] = shape[axis];
  if (n > 0 && rank > 0) launch(write_coordinates, "nonzero", blocks_of(n), {block_threads}, 0, places, walk, to);
}

}  // namespace

constinit DeviceIndexKernels const device_index_kernels{starts, pick,  read,      write,      is_last,
                                                        tiles,  count, positions, coordinates};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
