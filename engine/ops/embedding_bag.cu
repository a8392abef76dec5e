// Bags on an accelerator: a search for each place, a walk for each bag and column.
#include <heed/engine/cuda/elements.h>
#include <heed/engine/cuda/index_check.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

__device__ int64_t end_of(BagRuns const& r) {
  int64_t const end = r.end ? *r.end : r.n;
  return end < r.n ? end : r.n;
}

__global__ void bags_kernel(BagRuns r, int64_t* bag) {
  int64_t const k = this_element();
  if (k >= r.n) return;
  int64_t low = 0, high = r.count;  // how many bags start at k or before
  while (low < high) {
    int64_t const middle = (low + high) / 2;
    if (r.starts[middle] <= k)
      low = middle + 1;
    else
      high = middle;
  }
  bag[k] = low == 0 || r.index[k] == r.padding || k >= end_of(r) ? r.count : low - 1;
}

template <class T>
__global__ void largest_kernel(BagRuns r, IndexRange range, T const* table, int64_t columns, int64_t* winner) {
  int64_t const i = this_element(), b = i / columns, j = i % columns;
  if (b >= r.count) return;
  int64_t const end = b + 1 < r.count && r.starts[b + 1] < end_of(r) ? r.starts[b + 1] : end_of(r);
  int64_t best = -1;
  T top = 0;
  for (int64_t k = r.starts[b] < 0 ? 0 : r.starts[b]; k < end; ++k) {
    if (r.index[k] == r.padding) continue;
    int64_t const row = range.place(r.index[k]);
    T const v = table[row * columns + j];
    if (best < 0 || v > top || (v != v && top == top)) best = row * columns + j, top = v;
  }
  winner[i] = best;
}

void bags(BagRuns const& r, int64_t* bag) {
  if (r.n > 0) launch(bags_kernel, "embedding_bag", blocks_of_one(r.n), {element_threads}, 0, r, bag);
}
template <class T>
void largest(BagRuns const& r, T const* table, int64_t rows, int64_t columns, int64_t* winner) {
  int64_t const n = r.count * columns;
  if (n > 0)
    launch(largest_kernel<T>, "embedding_bag", blocks_of_one(n), {element_threads}, 0, r,
           index_range("embedding_bag", 0, rows), table, columns, winner);
}

}  // namespace

BagKernels const device_bag_kernels{{{largest<float>}, {largest<double>}}, bags};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
