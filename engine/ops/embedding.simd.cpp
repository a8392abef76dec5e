#include <heed/engine/ops/embedding.h>
#include <heed/engine/ops/rows.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

template <class T>
void forward(T const* table, int64_t const* index, T* out, int64_t count, int64_t, int64_t n) {
  if (n == 0) return;
  parallel_for(count, row_grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) __builtin_memcpy(out + i * n, table + index[i] * n, size_t(n) * sizeof(T));
  });
}

template <class T>
void backward(T const* g, int64_t const* index, int64_t padding_index, T* dtable, int64_t count, int64_t table_rows,
              int64_t n) {
  if (n == 0) return;
  // Counting sort: the uses of row r are order[first[r]] … order[first[r + 1] - 1], ascending.
  Scratch<int64_t> scratch(table_rows + 1 + count);
  int64_t* const first = scratch.data();
  int64_t* const order = first + table_rows + 1;
  for (int64_t r = 0; r <= table_rows; ++r) first[r] = 0;
  for (int64_t i = 0; i < count; ++i) ++first[index[i]];
  for (int64_t r = 0, sum = 0; r <= table_rows; ++r) first[r] = sum += first[r];
  for (int64_t i = count; i-- > 0;) order[--first[index[i]]] = i;
  // Frequent rows make ranges of equal length unequal in work: ranges are small, threads claim them one by one.
  parallel_for(table_rows, row_grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T* const row = dtable + r * n;
      int64_t u = first[r], last = r == padding_index ? u : first[r + 1];
      if (u == last) {
        __builtin_memset(row, 0, size_t(n) * sizeof(T));
        continue;
      }
      __builtin_memcpy(row, g + order[u] * n, size_t(n) * sizeof(T));
      while (++u < last)
        map_row<T>(
            n, row, [](auto a, auto b) { return a + b; }, static_cast<T const*>(row), g + order[u] * n);
    }
  });
}

template <class T>
constexpr EmbeddingKernelsOf<T> table_of{forward<T>, backward<T>};

}  // namespace

constinit EmbeddingKernels const embedding_kernels{table_of<float>, table_of<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
