#include <heed/engine/cuda/index_check.h>
#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/sort_device.h>

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
  IndexRange rows;
  __device__ void operator()(int64_t i, int64_t k, int count) const {
    store(load(table + rows.place(index[i]) * n + k, 1, count, T(0)), out + i * n + k, count);
  }
};

template <class T>
void forward(T const* table, int64_t const* index, T* out, int64_t count, int64_t table_rows, int64_t n) {
  map_rows<T>("embedding", Lookup<T>{table, index, out, n, index_range("embedding", 0, table_rows)}, count, n);
}

/// The uses of table row r, if any, are order[range[2r]] … order[range[2r + 1] - 1]. Reads 32 bytes a use.
__global__ void __launch_bounds__(block_threads, 1)
    find_ranges(int64_t const* index, int64_t const* order, int64_t count, IndexRange rows, int64_t* range) {
  int64_t const at = int64_t(blockIdx.x) * block_threads + int(threadIdx.x);
  if (at >= count) return;
  int64_t const use = index[order[at]], row = rows.place(use);
  if (at == 0 || index[order[at - 1]] != use) range[2 * row] = at;
  if (at + 1 == count || index[order[at + 1]] != use) range[2 * row + 1] = at + 1;
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
  DeviceScratch<int64_t> const range(2 * table_rows), order(count);
  check_device(rt::fill_bytes(range.data(), 0, size_t(2 * table_rows) * sizeof(int64_t), current_stream()),
               "embedding_backward");
  if (count > 0) {
    sort_places("embedding_backward", index, count, table_rows, order.data());
    launch(find_ranges, "embedding_backward", in_a_row((count + block_threads - 1) / block_threads), {block_threads}, 0,
           index, order.data(), count, index_range("embedding", 0, table_rows), range.data());
  }
  map_rows<T>("embedding_backward", SumUses<T>{g, order.data(), range.data(), padding_index, dtable, n}, table_rows, n);
}

template <class T>
constexpr EmbeddingKernelsOf<T> table_of{forward<T>, backward<T>};

}  // namespace

constinit EmbeddingKernels const device_embedding_kernels{table_of<float>, table_of<double>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
