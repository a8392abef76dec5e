// Distances between points: a block has side × side pairs, and reads their coordinates side at a time into shared
// memory, so that each is read once for `side` pairs.
#include <heed/engine/cuda/launch.h>
#include <heed/engine/ops/device_tables.h>

#include <cmath>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

constexpr int side = 16;

template <class T>
__global__ void euclidean_kernel(T const* a, T const* b, T* y, int64_t rows, int64_t columns, int64_t n,
                                 int64_t column_tiles, int64_t tiles) {
  HEED_SHARED(T, as, side * (side + 1));  // a column of padding: neighbours of a column lie in different banks
  HEED_SHARED(T, bs, side * (side + 1));
  int64_t const m = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  int64_t const row = tile / column_tiles * side, column = tile % column_tiles * side;
  int const i = int(threadIdx.x) / side, j = int(threadIdx.x) % side;
  T sum = 0;
  for (int64_t k = 0; k < n; k += side) {
    bool const inside = k + j < n;
    as[i * (side + 1) + j] = inside && row + i < rows ? a[(m * rows + row + i) * n + k + j] : T(0);
    bs[i * (side + 1) + j] = inside && column + i < columns ? b[(m * columns + column + i) * n + k + j] : T(0);
    __syncthreads();
#pragma unroll
    for (int c = 0; c < side; ++c) {
      T const d = as[i * (side + 1) + c] - bs[j * (side + 1) + c];
      sum += d * d;
    }
    __syncthreads();
  }
  if (row + i < rows && column + j < columns) y[(m * rows + row + i) * columns + column + j] = std::sqrt(sum);
}

template <class T>
void euclidean(T const* a, T const* b, T* y, int64_t batch, int64_t rows, int64_t columns, int64_t n) {
  int64_t const row_tiles = (rows + side - 1) / side, column_tiles = (columns + side - 1) / side;
  launch(euclidean_kernel<T>, "cdist", in_a_row(batch * row_tiles * column_tiles), {side * side}, 0, a, b, y, rows,
         columns, n, column_tiles, row_tiles * column_tiles);
}

}  // namespace

DistanceKernels const device_distance_kernels{{{euclidean<float>}, {euclidean<double>}}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
