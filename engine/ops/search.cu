// Binary searches, a thread a value, and counts by value.
#include <heed/engine/cuda/index_check.h>
#include <heed/engine/cuda/rows.h>
#include <heed/engine/cuda/whole.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/sort_keys.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

__device__ int64_t this_thread() { return int64_t(blockIdx.x) * block_threads + int(threadIdx.x); }
rt::Dim blocks_of(int64_t threads) { return in_a_row((threads + block_threads - 1) / block_threads); }

/// As i64 or f64, which hold every element of their kinds.
template <class Wide>
__device__ inline Wide load_wide(void const* from, Dtype dtype, int64_t i) {
  if constexpr (std::is_same_v<Wide, int64_t>)
    return load_whole(from, dtype, i);
  else
    return dtype == Dtype::f32 ? double(static_cast<float const*>(from)[i]) : static_cast<double const*>(from)[i];
}

/// log n dependent reads of 4 bytes a value (f32; 8 more with a sorter): bound by the latency of memory, of which
/// caches hold the first steps.
template <class Wide>
__global__ void __launch_bounds__(block_threads, 1)
    search_lines(Dtype dtype, void const* lines, int64_t const* sorter, int64_t n, int64_t each, void const* values,
                 int64_t count, bool right, IndexRange places, int64_t* to) {
  int64_t const i = this_thread();
  if (i >= count) return;
  int64_t const from = i / each * n;
  Wide const v = load_wide<Wide>(values, dtype, i);
  int64_t low = 0, high = n;
  while (low < high) {
    int64_t const middle = low + (high - low) / 2;
    Wide const at = load_wide<Wide>(lines, dtype, from + (sorter ? places.place(sorter[from + middle]) : middle));
    if (right ? at > v : at >= v)
      high = middle;
    else
      low = middle + 1;
  }
  to[i] = low;
}

void search(Dtype dtype, void const* lines, int64_t const* sorter, int64_t n, int64_t each, void const* values,
            int64_t count, bool right, int64_t* to) {
  if (count == 0) return;
  auto const run = [&](auto kernel) {
    launch(kernel, "searchsorted", blocks_of(count), {block_threads}, 0, dtype, lines, sorter, n, each, values, count,
           right, index_range("searchsorted", 0, n), to);
  };
  is_floating(dtype) ? run(search_lines<double>) : run(search_lines<int64_t>);
}

/// log n dependent reads of 4 bytes a value (f32).
__global__ void __launch_bounds__(block_threads, 1)
    find_members(Dtype dtype, void const* known, int64_t n, void const* values, int64_t count, bool invert, bool* to) {
  int64_t const i = this_thread();
  if (i >= count) return;
  uint64_t const key = key_of<uint64_t>(values, dtype, i);
  int64_t low = 0, high = n;
  while (low < high) {
    int64_t const middle = low + (high - low) / 2;
    if (key_of<uint64_t>(known, dtype, middle) < key)
      low = middle + 1;
    else
      high = middle;
  }
  bool const found = low < n && key_of<uint64_t>(known, dtype, low) == key && !is_nan_key(key, dtype);
  to[i] = found != invert;
}

void is_in(Dtype dtype, void const* known, int64_t n, void const* values, int64_t count, bool invert, bool* to) {
  if (count > 0)
    launch(find_members, "isin", blocks_of(count), {block_threads}, 0, dtype, known, n, values, count, invert, to);
}

// Sums of integers do not depend on their order: counts may be added up by atomics.

constexpr int few_bins = 4096, share = 64 * block_threads;  // bins that fit into shared memory; elements a block
using Count = unsigned long long;

/// Reads 8 bytes an element. Few bins are counted in shared memory first.
template <bool few>
__global__ void __launch_bounds__(block_threads, 1)
    count_bins(int64_t const* bins, int64_t n, int64_t length, IndexRange range, Count* counts) {
  HEED_SHARED(unsigned, own, few ? few_bins : 1);
  int64_t const begin = int64_t(blockIdx.x) * share, end = n - begin < share ? n : begin + share;
  if (few) {
    for (int b = int(threadIdx.x); b < length; b += block_threads) own[b] = 0;
    __syncthreads();
  }
  for (int64_t i = begin + int(threadIdx.x); i < end; i += block_threads) {
    int64_t const bin = range.place(bins[i]);
    if (few)
      atomicAdd(&own[bin], 1u);
    else
      atomicAdd(&counts[bin], Count{1});
  }
  if (!few) return;
  __syncthreads();
  for (int b = int(threadIdx.x); b < length; b += block_threads)
    if (own[b]) atomicAdd(&counts[b], Count{own[b]});
}

void count(int64_t const* bins, int64_t n, int64_t length, int64_t* counts) {
  if (length == 0) return;
  check_device(rt::fill_bytes(counts, 0, size_t(length) * sizeof(int64_t), current_stream()), "bincount");
  if (n == 0) return;
  auto const run = [&](auto kernel) {
    launch(kernel, "bincount", in_a_row((n + share - 1) / share), {block_threads}, 0, bins, n, length,
           index_range("bincount", 0, length), reinterpret_cast<Count*>(counts));
  };
  length <= few_bins ? run(count_bins<true>) : run(count_bins<false>);
}

}  // namespace

constinit DeviceSearchKernels const device_search_kernels{search, is_in, count};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
