// Sorting on an accelerator: what fits into a block's shared memory by a network (Batcher 1968, as Satish, Harris and
// Garland 2009 use it), the first few of longer lines by a tournament of such blocks, whole ones by their digits.
// Elements become unsigned keys of the same order; a key's place decides among equals, so that all of it is stable.
#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/sort_device.h>
#include <heed/engine/ops/sort_keys.h>

#include <bit>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

// ---- keys -----------------------------------------------------------------------------------------------------------

/// The bits that keys of the type's elements have.
int key_bits(Dtype dtype) { return 8 * int(size_of(dtype)); }

/// What is sorted: lines of memory, or keys with their places from a pass before, which are [lines, n].
template <class Key>
struct Source {
  Lines lines;      // n: of this pass
  Key flip;         // of keys read from memory: for the other order
  Key const* keys;  // null: from memory
  uint32_t const* places;
  __device__ Key key(int64_t line, int64_t k) const {
    if (keys) return keys[line * lines.n + k];
    int64_t const o = line / lines.inner;
    return key_of<Key>(lines.x, lines.dtype, (o * lines.n + k) * lines.inner + line - o * lines.inner) ^ flip;
  }
  __device__ uint32_t place(int64_t line, int64_t k) const { return places ? places[line * lines.n + k] : uint32_t(k); }
};

/// Where sorted elements go: into pairs [lines, n], or as places into [outer, keep, inner].
template <class Key>
struct Target {
  Key* keys;
  uint32_t* places;
  int64_t* order;  // null: pairs
  int64_t n, keep, inner;
  __device__ void put(int64_t line, int64_t r, Key key, uint32_t place) const {
    if (!order) {
      keys[line * n + r] = key;
      places[line * n + r] = place;
    } else if (r < keep) {
      int64_t const o = line / inner;
      order[(o * keep + r) * inner + line - o * inner] = place;
    }
  }
};

// ---- what fits into a block -----------------------------------------------------------------------------------------

constexpr int tile = 8 * block_threads;

/// Tiles of `width` elements (a power of two) of a line, `parts` a line, `together` in a block; the first `kept` of
/// each go to element part·kept of the target's line. Reads 4 bytes an element (f32), writes 8 for each that is kept;
/// log² width / 2 steps in shared memory.
template <class Key>
__global__ void __launch_bounds__(block_threads, 1)
    sort_tiles(Source<Key> from, Target<Key> to, int64_t tiles, int64_t parts, int width, int together, int64_t kept) {
  HEED_SHARED(Key, keys, tile);
  HEED_SHARED(uint32_t, places, tile);
  int64_t const first = int64_t(blockIdx.x) * together;
  int const here = tiles - first < together ? int(tiles - first) : together, all = here * width;
  for (int e = int(threadIdx.x); e < all; e += block_threads) {
    int64_t const t = first + e / width, line = t / parts, k = (t - line * parts) * width + e % width;
    bool const live = k < from.lines.n;  // what fills up a tile is behind all else
    keys[e] = live ? from.key(line, k) : ~Key{0};
    places[e] = live ? from.place(line, k) : 0xffffffffu;
  }
  for (int size = 2; size <= width; size *= 2)
    for (int apart = size / 2; apart > 0; apart /= 2) {
      __syncthreads();
      for (int pair = int(threadIdx.x); pair < all / 2; pair += block_threads) {
        int const i = pair / apart * 2 * apart + pair % apart, j = i + apart;
        bool const up = (i & (width - 1) & size) == 0;
        Key const a = keys[i], b = keys[j];
        uint32_t const p = places[i], q = places[j];
        bool const ordered = a < b || (a == b && p < q);
        if (ordered != up) keys[i] = b, keys[j] = a, places[i] = q, places[j] = p;
      }
    }
  __syncthreads();
  for (int e = int(threadIdx.x); e < all; e += block_threads) {
    int64_t const t = first + e / width, line = t / parts, r = e % width;
    if (r < kept) to.put(line, (t - line * parts) * kept + r, keys[e], places[e]);
  }
}

template <class Key>
void sort_in_tiles(char const* name, Source<Key> const& from, Target<Key> const& to, int64_t lines, int64_t kept) {
  int64_t const n = from.lines.n, parts = (n + tile - 1) / tile, tiles = lines * parts;
  int width = 1;
  while (width < n && width < tile) width *= 2;
  int const together = tile / width;
  launch(sort_tiles<Key>, name, in_a_row((tiles + together - 1) / together), {block_threads}, 0, from, to, tiles, parts,
         width, together, kept);
}

// ---- long lines: 8 bits a pass, least significant first; no atomics -------------------------------------------------

constexpr int digits = 256;
static_assert(digits == block_threads);

/// `size` elements of a line a block.
struct DigitSplit {
  int64_t size, parts;
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

/// counts[line, part, d] = how many keys of the part have digit d. Reads 4 bytes a key (f32).
template <class Key>
__global__ void __launch_bounds__(block_threads, 1)
    count_digits(Source<Key> from, DigitSplit split, int shift, uint32_t* counts) {
  constexpr int warps = block_threads / warp_threads;
  HEED_SHARED(uint32_t, seen, digits * warps);
  int const warp = int(threadIdx.x) / warp_threads, lane = int(threadIdx.x) % warp_threads;
  int64_t const line = blockIdx.x / split.parts, begin = (blockIdx.x - line * split.parts) * split.size;
  int64_t const end = from.lines.n - begin < split.size ? from.lines.n : begin + split.size;
  for (int w = 0; w < warps; ++w) seen[w * digits + int(threadIdx.x)] = 0;
  __syncthreads();
  for (int64_t k = begin + int(threadIdx.x); k - int(threadIdx.x) < end; k += block_threads) {
    int const digit = k < end ? int(from.key(line, k) >> shift) & (digits - 1) : -1;
    unsigned const peers = peers_of(digit);
    if (digit >= 0 && (peers & ((1u << lane) - 1)) == 0) seen[warp * digits + digit] += uint32_t(__popc(peers));
    __syncwarp();
  }
  __syncthreads();
  uint32_t total = 0;
  for (int w = 0; w < warps; ++w) total += seen[w * digits + int(threadIdx.x)];
  counts[int64_t(blockIdx.x) * digits + threadIdx.x] = total;
}

/// counts[line, part, d] becomes where the part's first key with digit d goes. A block a line, a thread a digit.
__global__ void __launch_bounds__(block_threads, 1) scan_digits(uint32_t* counts, int64_t parts) {
  HEED_SHARED(uint32_t, sums, digits);
  uint32_t* const mine = counts + blockIdx.x * parts * digits + threadIdx.x;
  uint32_t total = 0;
#pragma unroll 8
  for (int64_t part = 0; part < parts; ++part) total += mine[part * digits];
  uint32_t sum = total;
  for (int d = 1; d < digits; d *= 2) {  // Hillis and Steele (1986)
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (int(threadIdx.x) >= d) sum += sums[int(threadIdx.x) - d];
    __syncthreads();
  }
  uint32_t before = sum - total;
#pragma unroll 8
  for (int64_t part = 0; part < parts; ++part) {
    uint32_t const count = mine[part * digits];
    mine[part * digits] = before;
    before += count;
  }
}

/// The elements by their digit, in their order before among equals. Reads 4 bytes an element (f32; 8 after the first
/// pass), writes 8.
template <class Key>
__global__ void __launch_bounds__(block_threads, 1)
    place_digits(Source<Key> from, Target<Key> to, DigitSplit split, int shift, uint32_t const* counts) {
  constexpr int warps = block_threads / warp_threads;
  HEED_SHARED(uint32_t, next, digits);          // where the block's next element with a digit goes
  HEED_SHARED(uint32_t, seen, digits * warps);  // elements with a digit in each warp, in this round
  int const warp = int(threadIdx.x) / warp_threads, lane = int(threadIdx.x) % warp_threads;
  int64_t const line = blockIdx.x / split.parts, begin = (blockIdx.x - line * split.parts) * split.size;
  int64_t const end = from.lines.n - begin < split.size ? from.lines.n : begin + split.size;
  next[threadIdx.x] = counts[int64_t(blockIdx.x) * digits + threadIdx.x];
  for (int64_t k = begin + int(threadIdx.x); k - int(threadIdx.x) < end; k += block_threads) {
    for (int w = 0; w < warps; ++w) seen[w * digits + int(threadIdx.x)] = 0;
    __syncthreads();
    bool const live = k < end;
    Key const key = live ? from.key(line, k) : 0;
    uint32_t const place = live ? from.place(line, k) : 0;
    int const digit = live ? int(key >> shift) & (digits - 1) : -1;
    unsigned const peers = peers_of(digit), lower = peers & ((1u << lane) - 1);
    if (live && lower == 0) seen[warp * digits + digit] = uint32_t(__popc(peers));
    __syncthreads();
    if (live) {
      uint32_t r = next[digit] + uint32_t(__popc(lower));
      for (int w = 0; w < warp; ++w) r += seen[w * digits + digit];
      to.put(line, r, key, place);
    }
    __syncthreads();
    for (int w = 0; w < warps; ++w) next[threadIdx.x] += seen[w * digits + int(threadIdx.x)];
  }
}

/// Pairs from one pass to the next, two sets in turn.
template <class Key>
struct Pairs {
  DeviceScratch<Key> keys;
  DeviceScratch<uint32_t> places;
  explicit Pairs(int64_t count) : keys(count), places(count) {}
};

template <class Key>
void sort_by_digits(char const* name, Source<Key> from, Target<Key> const& last, int64_t lines, int bits) {
  int64_t const n = from.lines.n, least = 8 * block_threads;
  int64_t const wanted = (n + 1023) / 1024;  // at most 1024 parts, which one thread runs through
  int64_t const size = wanted < least ? least : (wanted + block_threads - 1) / block_threads * block_threads;
  DigitSplit const split{size, (n + size - 1) / size};
  rt::Dim const grid = in_a_row(lines * split.parts);
  DeviceScratch<uint32_t> const counts(lines * split.parts * digits);
  Pairs<Key> const one(bits > 8 ? lines * n : 0), two(bits > 16 ? lines * n : 0);
  Pairs<Key> const* spare[] = {&one, &two};
  for (int shift = 0, pass = 0; shift < bits; shift += 8, ++pass) {
    Target<Key> to = last;
    if (shift + 8 < bits) to = {spare[pass % 2]->keys.data(), spare[pass % 2]->places.data(), nullptr, n, 0, 1};
    launch(count_digits<Key>, name, grid, {block_threads}, 0, from, split, shift, counts.data());
    launch(scan_digits, name, in_a_row(lines), {block_threads}, 0, counts.data(), split.parts);
    launch(place_digits<Key>, name, grid, {block_threads}, 0, from, to, split, shift, counts.data());
    from.keys = to.keys, from.places = to.places;
  }
}

// ---- which way ------------------------------------------------------------------------------------------------------

/// The first `keep` of longer lines: those of each tile, then of these, until a tile holds them all.
template <class Key>
void sort_first(char const* name, Source<Key> from, Target<Key> const& last, int64_t lines) {
  int64_t const kept = last.keep, parts = (from.lines.n + tile - 1) / tile, left = parts * kept;
  if (parts == 1) return sort_in_tiles(name, from, last, lines, kept);
  Pairs<Key> const pairs(lines * left);
  sort_in_tiles(name, from, {pairs.keys.data(), pairs.places.data(), nullptr, left, 0, 1}, lines, kept);
  from.keys = pairs.keys.data(), from.places = pairs.places.data(), from.lines.n = left;
  sort_first(name, from, last, lines);
}

template <class Key>
void sort_keys(char const* name, Lines const& lines, int bits, bool descending, int64_t keep, int64_t* order) {
  int64_t const count = lines.outer * lines.inner;
  if (count == 0 || lines.n == 0 || keep == 0) return;
  Key const flip = descending ? ~Key{0} >> (8 * int(sizeof(Key)) - bits) : Key{0};
  Source<Key> const from{lines, flip, nullptr, nullptr};
  Target<Key> const to{nullptr, nullptr, order, 0, keep, lines.inner};
  if (lines.n <= tile || keep <= tile / 4)
    sort_first(name, from, to, count);
  else
    sort_by_digits(name, from, to, count, bits);
}

}  // namespace

void sort_lines(char const* name, Lines const& lines, bool descending, int64_t keep, int64_t* order) {
  int const bits = key_bits(lines.dtype);
  if (bits == 64)
    sort_keys<uint64_t>(name, lines, bits, descending, keep, order);
  else
    sort_keys<uint32_t>(name, lines, bits, descending, keep, order);
}

void sort_places(char const* name, int64_t const* places, int64_t n, int64_t limit, int64_t* order) {
  check(n < int64_t{1} << 32, name, [] { return Complaint{"more than 2^32 - 1 places are given", "split them"}; });
  Lines const lines{places, Dtype::i64, 1, n, 1};
  int const bits = limit <= 2 ? 1 : int(std::bit_width(uint64_t(limit - 1)));
  if (bits > 32)
    sort_keys<uint64_t>(name, lines, 64, false, n, order);
  else
    sort_keys<uint32_t>(name, lines, bits, false, n, order);
}

namespace {

// ---- what is read off a sorted line ---------------------------------------------------------------------------------

/// Element r of a line in its order.
struct Sorted {
  Lines lines;
  int64_t const* order;
  __device__ int64_t at(int64_t line, int64_t r) const {
    int64_t const o = line / lines.inner;
    return (o * lines.n + r) * lines.inner + line - o * lines.inner;
  }
  __device__ int64_t place(int64_t line, int64_t r) const { return order ? order[at(line, r)] : r; }
  __device__ uint64_t key(int64_t line, int64_t r) const {
    return key_of<uint64_t>(lines.x, lines.dtype, at(line, place(line, r)));
  }
  /// The first r whose key is not below `key`.
  __device__ int64_t first_from(int64_t line, uint64_t wanted) const {
    int64_t low = 0, high = lines.n;
    while (low < high) {
      int64_t const middle = low + (high - low) / 2;
      if (key(line, middle) < wanted)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
};

/// A thread a line: log n reads of 12 bytes (f32).
__global__ void __launch_bounds__(block_threads, 1) find_medians(Sorted from, bool skip_nan, int64_t* to) {
  int64_t const line = int64_t(blockIdx.x) * block_threads + int(threadIdx.x), n = from.lines.n;
  if (line >= from.lines.outer * from.lines.inner) return;
  Dtype const dtype = from.lines.dtype;
  uint64_t const nan = dtype == Dtype::f32 ? 0xffffffffu : ~uint64_t{0};
  int64_t const numbers = dtype == Dtype::f32 || dtype == Dtype::f64 ? from.first_from(line, nan) : n;
  int64_t const middle = numbers == 0 ? 0 : (numbers - 1) / 2;
  to[line] = from.place(line, skip_nan || numbers == n ? middle : numbers);
}

struct alignas(16) RunEnd {
  int64_t length, at;
};
__device__ inline RunEnd shuffle_xor(RunEnd const& run, int d) {
  return {heed::shuffle_xor(run.length, d), heed::shuffle_xor(run.at, d)};
}

/// A block a line; every element finds where its run began. log n reads of 12 bytes an element (f32).
__global__ void __launch_bounds__(block_threads, 1) find_modes(Sorted from, int64_t* to) {
  HEED_SHARED(RunEnd, slots, block_threads / warp_threads);
  int64_t const line = blockIdx.x, n = from.lines.n;
  // The longest run, the first of equals: its end is the last of the smallest of the most frequent.
  auto const join = [](RunEnd const& a, RunEnd const& b) {
    return b.length > a.length || (b.length == a.length && b.at < a.at) ? b : a;
  };
  RunEnd best{0, n};
  for (int64_t r = threadIdx.x; r < n; r += block_threads) {
    uint64_t const key = from.key(line, r);
    int64_t const length = is_nan_key(key, from.lines.dtype) ? 1 : r - from.first_from(line, key) + 1;
    best = join(best, RunEnd{length, r});
  }
  best = fold_team(best, join, block_threads, static_cast<RunEnd*>(slots));
  if (threadIdx.x == 0) to[line] = from.place(line, best.at);
}

/// Reads 24 bytes an element (f32), writes 1.
__global__ void __launch_bounds__(block_threads, 1) find_heads(Sorted from, bool* head) {
  int64_t const r = int64_t(blockIdx.x) * block_threads + int(threadIdx.x);
  if (r >= from.lines.n) return;
  uint64_t const key = from.key(0, r);
  head[r] = r == 0 || is_nan_key(key, from.lines.dtype) || key != from.key(0, r - 1);
}

rt::Dim blocks_of(int64_t threads) { return in_a_row((threads + block_threads - 1) / block_threads); }

void sort(Lines const& lines, bool descending, int64_t keep, int64_t* order) {
  sort_lines("sort", lines, descending, keep, order);
}
void median(Lines const& lines, int64_t const* order, bool skip_nan, int64_t* at) {
  if (int64_t const count = lines.outer * lines.inner; count > 0 && lines.n > 0)
    launch(find_medians, "median", blocks_of(count), {block_threads}, 0, Sorted{lines, order}, skip_nan, at);
}
void mode(Lines const& lines, int64_t const* order, int64_t* at) {
  if (int64_t const count = lines.outer * lines.inner; count > 0 && lines.n > 0)
    launch(find_modes, "mode", in_a_row(count), {block_threads}, 0, Sorted{lines, order}, at);
}
void heads(Lines const& lines, int64_t const* order, bool* head) {
  if (lines.n > 0) launch(find_heads, "unique", blocks_of(lines.n), {block_threads}, 0, Sorted{lines, order}, head);
}

}  // namespace

constinit DeviceSortKernels const device_sort_kernels{sort, median, mode, heads};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
