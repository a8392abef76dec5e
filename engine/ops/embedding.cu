#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// Reads 4 and writes 4 bytes an element (f32).
template <class T>
struct Lookup {
  T const* table;
  int64_t const* index;
  T* out;
  int64_t n;
  __device__ void operator()(int64_t i, int64_t k, int count) const {
    store(load(table + index[i] * n + k, 1, count, T(0)), out + i * n + k, count);
  }
};

template <class T>
void forward(T const* table, int64_t const* index, T* out, int64_t count, int64_t n) {
  map_rows<T>("embedding", Lookup<T>{table, index, out, n}, count, n);
}

// ---- a stable radix sort of the uses by table row: 8 bits a pass, no atomics on memory that others read meanwhile
// ----

constexpr int digits = 256, sort_rounds = 8, sort_tile = block_threads * sort_rounds;
static_assert(digits == block_threads);

/// Keys as they come, or in the order of the pass before; digit d is bits shift … shift+7.
struct Keys {
  int64_t const* index;
  int64_t const* order;  // null in the first pass
  int64_t count;
  int shift;
  __device__ int64_t use(int64_t at) const { return order ? order[at] : at; }
  __device__ int digit(int64_t use) const { return int(index[use] >> shift) & (digits - 1); }
};

/// Lanes of the warp with the same digit; those without a key have digit -1.
__device__ inline unsigned peers_of(int digit) {
  unsigned peers = all_lanes;
#pragma unroll
  for (int bit = 0; bit < 9; ++bit) {
    bool const set = digit >> bit & 1;
    unsigned const with = __ballot_sync(all_lanes, set);
    peers &= set ? with : ~with;
  }
  return peers;
}

/// counts[d·tiles + tile] = how many keys of the tile have digit d. Reads 8 bytes a key (16 after the first pass).
__global__ void __launch_bounds__(block_threads, 1) count_digits(Keys keys, int64_t* counts) {
  constexpr int warps = block_threads / warp_threads;
  HEED_SHARED(int, seen, digits* warps);
  int const warp = int(threadIdx.x) / warp_threads, lane = int(threadIdx.x) % warp_threads;
  for (int w = 0; w < warps; ++w) seen[w * digits + int(threadIdx.x)] = 0;
  __syncthreads();
  for (int round = 0; round < sort_rounds; ++round) {
    int64_t const at = int64_t(blockIdx.x) * sort_tile + round * block_threads + int(threadIdx.x);
    int const digit = at < keys.count ? keys.digit(keys.use(at)) : -1;
    unsigned const peers = peers_of(digit);
    if (digit >= 0 && (peers & ((1u << lane) - 1)) == 0) seen[warp * digits + digit] += __popc(peers);
    __syncwarp();
  }
  __syncthreads();
  int total = 0;
  for (int w = 0; w < warps; ++w) total += seen[w * digits + int(threadIdx.x)];
  counts[int64_t(threadIdx.x) * gridDim.x + blockIdx.x] = total;
}

/// In each block's row of counts: what comes before, and the row's total. 16 bytes a count.
__global__ void __launch_bounds__(block_threads, 1) scan_tiles(int64_t* counts, int64_t* totals, int64_t tiles) {
  HEED_SHARED(int64_t, sums, block_threads);
  int64_t* const row = counts + blockIdx.x * tiles;
  int64_t before = 0;
  for (int64_t first = 0; first < tiles; first += block_threads) {
    int64_t const at = first + int(threadIdx.x), mine = at < tiles ? row[at] : 0;
    int64_t sum = mine;
    for (int d = 1; d < block_threads; d *= 2) {  // Hillis and Steele (1986)
      sums[threadIdx.x] = sum;
      __syncthreads();
      if (int(threadIdx.x) >= d) sum += sums[int(threadIdx.x) - d];
      __syncthreads();
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (at < tiles) row[at] = before + sum - mine;
    before += sums[block_threads - 1];
    __syncthreads();
  }
  if (threadIdx.x == 0) totals[blockIdx.x] = before;
}

/// to = the uses by digit, in their order before among equals. Reads 8 (16) and writes 8 bytes a key.
__global__ void __launch_bounds__(block_threads, 1)
    place_uses(Keys keys, int64_t const* counts, int64_t const* totals, int64_t* to) {
  constexpr int warps = block_threads / warp_threads;
  HEED_SHARED(int64_t, next, digits);     // where the block's next key of a digit goes
  HEED_SHARED(int, seen, digits* warps);  // keys of a digit in each warp, in this round
  int const warp = int(threadIdx.x) / warp_threads, lane = int(threadIdx.x) % warp_threads;
  int64_t first = totals[threadIdx.x];
  for (int d = 1; d < digits; d *= 2) {
    next[threadIdx.x] = first;
    __syncthreads();
    if (int(threadIdx.x) >= d) first += next[int(threadIdx.x) - d];
    __syncthreads();
  }
  next[threadIdx.x] = first - totals[threadIdx.x] + counts[int64_t(threadIdx.x) * gridDim.x + blockIdx.x];
  for (int round = 0; round < sort_rounds; ++round) {
    for (int w = 0; w < warps; ++w) seen[w * digits + int(threadIdx.x)] = 0;
    __syncthreads();
    int64_t const at = int64_t(blockIdx.x) * sort_tile + round * block_threads + int(threadIdx.x);
    bool const live = at < keys.count;
    int64_t const use = live ? keys.use(at) : 0;
    int const digit = live ? keys.digit(use) : -1;
    unsigned const peers = peers_of(digit), lower = peers & ((1u << lane) - 1);
    if (live && lower == 0) seen[warp * digits + digit] = __popc(peers);
    __syncthreads();
    if (live) {
      int64_t place = next[digit] + __popc(lower);
      for (int w = 0; w < warp; ++w) place += seen[w * digits + digit];
      to[place] = use;
    }
    __syncthreads();
    for (int w = 0; w < warps; ++w) next[threadIdx.x] += seen[w * digits + int(threadIdx.x)];
  }
}

/// The uses of table row r, if any, are order[range[2r]] … order[range[2r + 1] - 1]. Reads 32 bytes a use.
__global__ void __launch_bounds__(block_threads, 1)
    find_ranges(int64_t const* index, int64_t const* order, int64_t count, int64_t* range) {
  int64_t const at = int64_t(blockIdx.x) * block_threads + int(threadIdx.x);
  if (at >= count) return;
  int64_t const row = index[order[at]];
  if (at == 0 || index[order[at - 1]] != row) range[2 * row] = at;
  if (at + 1 == count || index[order[at + 1]] != row) range[2 * row + 1] = at + 1;
}

/// Reads 4 bytes an element of g (f32), writes 4 an element of the table.
template <class T>
struct SumUses {
  T const* g;
  int64_t const *order, *range;
  int64_t padding_index;
  T* dtable;
  int64_t n;
  __device__ void operator()(int64_t r, int64_t k, int count) const {
    int64_t u = range[2 * r], last = r == padding_index ? u : range[2 * r + 1];
    Pack<T> sum{};
    if (u < last) sum = load(g + order[u] * n + k, 1, count, T(0));
    constexpr int ahead = 4;  // loads in flight
    for (++u; u + ahead <= last; u += ahead) {
      Pack<T> p[ahead];
#pragma unroll
      for (int i = 0; i < ahead; ++i) p[i] = load(g + order[u + i] * n + k, 1, count, T(0));
#pragma unroll
      for (int i = 0; i < ahead; ++i) sum = map_pack(Plus(), sum, p[i]);
    }
    for (; u < last; ++u) sum = map_pack(Plus(), sum, load(g + order[u] * n + k, 1, count, T(0)));
    store(sum, dtable + r * n + k, count);
  }
};

template <class T>
void backward(T const* g, int64_t const* index, int64_t padding_index, T* dtable, int64_t count, int64_t table_rows,
              int64_t n) {
  if (n == 0 || table_rows == 0) return;
  int64_t const tiles = (count + sort_tile - 1) / sort_tile;
  DeviceScratch<int64_t> const range(2 * table_rows), orders(2 * count), counts(digits * tiles + digits);
  check_device(rt::fill_bytes(range.data(), 0, size_t(2 * table_rows) * sizeof(int64_t), current_stream()),
               "embedding_backward");
  int64_t *from = nullptr, *to = orders.data();
  if (count > 0) {
    int64_t* const totals = counts.data() + digits * tiles;
    for (int shift = 0; shift == 0 || (table_rows - 1) >> shift > 0; shift += 8) {
      Keys const keys{index, from, count, shift};
      launch(count_digits, "embedding_backward", in_a_row(tiles), {block_threads}, 0, keys, counts.data());
      launch(scan_tiles, "embedding_backward", {digits}, {block_threads}, 0, counts.data(), totals, tiles);
      launch(place_uses, "embedding_backward", in_a_row(tiles), {block_threads}, 0, keys, counts.data(), totals, to);
      from = to;
      to = from == orders.data() ? orders.data() + count : orders.data();
    }
    launch(find_ranges, "embedding_backward", in_a_row((count + block_threads - 1) / block_threads), {block_threads}, 0,
           index, from, count, range.data());
  }
  map_rows<T>("embedding_backward", SumUses<T>{g, from, range.data(), padding_index, dtable, n}, table_rows, n);
}

template <class T>
constexpr EmbeddingKernelsOf<T> table_of{forward<T>, backward<T>};

}  // namespace

constinit EmbeddingKernels const device_embedding_kernels{table_of<float>, table_of<double>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
