// The matrix product on a GPU: tiles of C (cuda/tile.h) and what brings their panels.
#include <heed/engine/cuda/kernel.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/cuda/tile.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/matmul_half.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// One operand: element (row, p) at row·row_step + p·depth_step, where rows are those of A or the columns of B.
template <class T>
struct Panel {
  T const* at;
  int64_t row_step, depth_step, rows;
  int64_t product_step;             // from one product of a batch to the next
  bool aligned;                     // 4 neighbours along the contiguous axis may be read at once
  int64_t tile_step, next_product;  // to the next tile of the depth; from behind the last one to the next product
};

/// For block z of the batch: C[m, n] from products z·summed … of depth k. A part is a range of depth tiles; where there
/// are several, they go to `parts` [z][part][m][n].
template <class T>
struct Task {
  Panel<T> a, b;
  int64_t depth, summed;
  T* c;
  int64_t c_row, c_step;
  T const* bias;
  bool accumulate, c_aligned;
  int depth_tiles, part_tiles;  // of all summed products; of a part
  T* parts;
};

/// A thread's 4 elements of a panel of `rows` on their way from global to shared memory. In the whole shape what is
/// contiguous has a multiple of 4 elements, aligned, so that 4 lie inside or outside together.
template <class T, class S, int rows, bool along_depth>
struct Courier {
  static constexpr int depth = S::depth, pitch = S::pitch(rows);
  static constexpr bool whole = S::whole;
  static_assert(rows * depth == 4 * S::threads);
  T const* from;
  int rows_left;  // from the first element on
  Four<T> held;

  static __device__ int row() {
    return along_depth ? int(threadIdx.x) / (depth / 4) : int(threadIdx.x) % (rows / 4) * 4;
  }
  static __device__ int start() {
    return along_depth ? int(threadIdx.x) % (depth / 4) * 4 : int(threadIdx.x) / (rows / 4);
  }
  /// `at`: row 0 of the panel at its first depth. In the whole form rows that do not exist repeat the first ones: what
  /// they give is not written.
  __device__ Courier(Panel<T> const& panel, T const* at, int rows_there)
      : from(at + (whole && row() >= rows_there ? 0 : row()) * panel.row_step + start() * panel.depth_step),
        rows_left(rows_there - row()) {}

  /// What lies outside is 0.
  __device__ void fetch(Panel<T> const& panel, int depth_left) {
    int const left = depth_left - start();
    if constexpr (whole) {
      held = left > 0 ? *reinterpret_cast<Four<T> const*>(from) : Four<T>{};
      return;
    }
    if (panel.aligned && (along_depth ? rows_left > 0 && left >= 4 : rows_left >= 4 && left > 0)) {
      held = *reinterpret_cast<Four<T> const*>(from);
      return;
    }
    T const* at = from;
#pragma unroll
    for (int e = 0; e < 4; ++e, at += along_depth ? panel.depth_step : panel.row_step)
      held.x[e] = (along_depth ? rows_left > 0 && e < left : e < rows_left && left > 0) ? *at : T(0);
  }
  __device__ void store(T* to) const {
    T* const at = to + start() * pitch + row();
    if constexpr (along_depth) {
#pragma unroll
      for (int e = 0; e < 4; ++e) at[e * pitch] = held.x[e];
    } else {
      *reinterpret_cast<Four<T>*>(at) = held;
    }
  }
};

__device__ inline int clipped(int64_t x, int most) { return x < most ? int(x) : most; }

/// Which tile of C a block has: 8 rows of tiles are walked column by column, so that blocks which run together share
/// panels in the second-level cache.
struct Place {
  int row, column;
  __device__ Place(int id, int rows, int columns) {
    int const band = id / (8 * columns), inside = id - band * 8 * columns;
    int const height = rows - band * 8 < 8 ? rows - band * 8 : 8;
    row = band * 8 + inside % height, column = inside / height;
  }
};

template <class T, class S, bool a_along_depth, bool b_along_depth>
__global__ void __launch_bounds__(S::threads, S::resident(sizeof(T))) multiply_tiles(Task<T> x) {
  int const m_tiles = int((x.a.rows + S::m - 1) / S::m), n_tiles = int((x.b.rows + S::n - 1) / S::n);
  int const z = int(blockIdx.x) / (m_tiles * n_tiles);
  Place const place(int(blockIdx.x) - z * m_tiles * n_tiles, m_tiles, n_tiles);
  int const i = place.row * S::m, j = place.column * S::n;
  int const m_left = clipped(x.a.rows - i, S::m), n_left = clipped(x.b.rows - j, S::n);

  int const first = int(blockIdx.y) * x.part_tiles;
  int const count = first + x.part_tiles < x.depth_tiles ? x.part_tiles : x.depth_tiles - first;
  int const tiles_each = int((x.depth + S::depth - 1) / S::depth);
  int const next = tiles_each ? first % tiles_each : 0;
  int64_t const product = z * x.summed + (tiles_each ? first / tiles_each : 0);
  T const* const a =
      x.a.at + int64_t(i) * x.a.row_step + product * x.a.product_step + int64_t(next) * S::depth * x.a.depth_step;
  T const* const b =
      x.b.at + int64_t(j) * x.b.row_step + product * x.b.product_step + int64_t(next) * S::depth * x.b.depth_step;

  Courier<T, S, S::m, a_along_depth> from_a(x.a, a, m_left);
  Courier<T, S, S::n, b_along_depth> from_b(x.b, b, n_left);
  int left = int(x.depth) - next * S::depth;  // of the product whose tiles are being fetched
  auto const fetch = [&] {
    from_a.fetch(x.a, left);
    from_b.fetch(x.b, left);
    from_a.from += x.a.tile_step, from_b.from += x.b.tile_step;
    left -= S::depth;
    if (left <= 0) left = int(x.depth), from_a.from += x.a.next_product, from_b.from += x.b.next_product;
  };

  Tile<T, S> tile;
  tile.multiply(count, fetch, [&](T* to_a, T* to_b) {
    from_a.store(to_a);
    from_b.store(to_b);
  });

  bool const whole_sum = !x.parts;
  T* const c = whole_sum ? x.c + z * x.c_step : x.parts + (int64_t(z) * gridDim.y + blockIdx.y) * x.a.rows * x.b.rows;
  int64_t const c_row = whole_sum ? x.c_row : x.b.rows;
  // `count` neighbours of C, where they are.
  tile.each_run([&]<int count>(int row, int column, T const(&from)[count]) {
    if (row >= m_left) return;
    T* const to = c + int64_t(i + row) * c_row + (j + column);
    struct alignas(count * sizeof(T) < 16 ? count * sizeof(T) : 16) Some {
      T x[count];
    } value;
#pragma unroll
    for (int e = 0; e < count; ++e) value.x[e] = from[e];
    if (whole_sum && (x.accumulate || x.bias)) {
#pragma unroll
      for (int e = 0; e < count; ++e)
        if (column + e < n_left) {
          if (x.accumulate) value.x[e] += to[e];
          if (x.bias) value.x[e] += x.bias[j + column + e];
        }
    }
    if (x.c_aligned && column + count <= n_left) {
      *reinterpret_cast<Some*>(to) = value;
    } else {
#pragma unroll
      for (int e = 0; e < count; ++e)
        if (column + e < n_left) to[e] = value.x[e];
    }
  });
}

/// C = (C) + Σ parts + bias, in their order.
template <class T>
__global__ void __launch_bounds__(256) add_parts(Task<T> x, int64_t count, int64_t batch) {
  int64_t const m = x.a.rows, n = x.b.rows, all = batch * m * n;
  for (int64_t at = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; at < all; at += int64_t(gridDim.x) * blockDim.x) {
    int64_t const z = at / (m * n), inside = at - z * m * n, row = inside / n, column = inside - row * n;
    T* const to = x.c + z * x.c_step + row * x.c_row + column;
    T const* const from = x.parts + z * count * m * n + inside;
    T sum = from[0];
    for (int64_t part = 1; part < count; ++part) sum += from[part * m * n];
    if (x.accumulate) sum += *to;
    *to = x.bias ? sum + x.bias[column] : sum;
  }
}

template <class T>
Panel<T> panel(T const* at, int64_t row_step, int64_t depth_step, int64_t rows, int64_t depth, int64_t product_step) {
  if (rows == 1) row_step = depth_step == 1 ? 4 : 0;  // not used, and so no reason to read one by one
  if (depth == 1) depth_step = row_step == 1 ? 4 : 0;
  bool const contiguous = row_step == 1 || depth_step == 1;
  int64_t const other = depth_step == 1 ? row_step : depth_step;
  bool const aligned = reinterpret_cast<uintptr_t>(at) % 16 == 0 && other % 4 == 0 && product_step % 4 == 0;
  return {at, row_step, depth_step, rows, product_step, contiguous && aligned, 0, 0};
}

template <class T, class S>
void run(Task<T> x, int64_t batch) {
  int64_t const tiles = ceil_div(x.a.rows, S::m) * ceil_div(x.b.rows, S::n) * batch;
  int64_t const depth_tiles = ceil_div(x.depth, S::depth) * x.summed;
  check(x.depth < 0x7fffffff && x.a.rows < 0x7fffff00 && x.b.rows < 0x7fffff00 && depth_tiles < 0x7fffffff, "gemm", [] {
    return Complaint{"expected fewer than 2^31 rows, columns and products in a sum", "split the long axis"};
  });
  x.depth_tiles = int(depth_tiles);
  for (Panel<T>* side : {&x.a, &x.b}) {
    side->tile_step = S::depth * side->depth_step;
    side->next_product = side->product_step - ceil_div(x.depth, S::depth) * side->tile_step;
  }
  DepthSplit const split(tiles, x.depth_tiles);
  int64_t const parts = split.parts;
  x.part_tiles = int(split.size);
  DeviceScratch<T> room(parts > 1 ? parts * batch * x.a.rows * x.b.rows : 0);
  x.parts = parts > 1 ? room.data() : nullptr;
  T const* const c = parts > 1 ? x.parts : x.c;
  x.c_aligned = reinterpret_cast<uintptr_t>(c) % 16 == 0 &&
                (parts > 1 ? x.b.rows % 4 == 0 : x.c_row % 4 == 0 && x.c_step % 4 == 0);
  bool const a = x.a.depth_step == 1 || x.a.row_step != 1, b = x.b.depth_step == 1;
  auto const kernel = a   ? b ? multiply_tiles<T, S, true, true> : multiply_tiles<T, S, true, false>
                        : b ? multiply_tiles<T, S, false, true>
                          : multiply_tiles<T, S, false, false>;
  launch(kernel, "gemm", {in_a_row(tiles).x, unsigned(parts)}, {S::threads}, 0, x);
  if (parts > 1) {
    int64_t const blocks = ceil_div(batch * x.a.rows * x.b.rows, 256);
    launch(add_parts<T>, "gemm (sum of parts)", {unsigned(blocks < 1024 ? blocks : 1024)}, {256}, 0, x, parts, batch);
  }
}

/// `units`: on the matrix units, operands rounded to tf32.
template <class T, bool units = false>
void gemm_batched(GemmArgs<T> const& first, int64_t batch, int64_t a_step, int64_t b_step, int64_t c_step) {
  GemmArgs<T> g = first;
  if (batch <= 0 || g.m <= 0 || g.n <= 0) return;
  if (g.k < 0) g.k = 0;
  int64_t summed = 1;
  if (batch > 1 && b_step == 0 && a_step == g.m * g.a_row && c_step == g.m * g.c_row)
    g.m *= batch, batch = 1;  // one B for all rows
  else if (c_step == 0)
    summed = batch, batch = 1;
  Task<T> x{};
  x.a = panel(g.a, g.a_row, g.a_col, g.m, g.k, a_step);
  x.b = panel(g.b, g.b_col, g.b_row, g.n, g.k, b_step);
  x.depth = g.k, x.summed = summed;
  x.c = g.c, x.c_row = g.c_row, x.c_step = c_step, x.bias = g.bias, x.accumulate = g.accumulate;
  auto const whole = [](Panel<T> const& side, int64_t depth) {
    return side.aligned && (side.depth_step == 1 ? depth : side.rows) % 4 == 0;
  };
  bool const large = whole(x.a, x.depth) && whole(x.b, x.depth) && g.m > 64 && g.n > 64 &&
                     ceil_div(g.m, 128) * ceil_div(g.n, 128) * batch >= 96;
  if constexpr (units) {
    large ? run<T, LargeUnitTile>(x, batch) : run<T, SmallUnitTile>(x, batch);
  } else {
    if constexpr (sizeof(T) == 4)
      if (large) return run<T, LargeTile>(x, batch);
    run<T, SmallTile>(x, batch);
  }
}

template <class T>
void gemm(GemmArgs<T> const& g) {
  gemm_batched(g, 1, 0, 0, 0);
}

}  // namespace

void gemm_tf32(GemmArgs<float> const& g) { gemm_tf32_batched(g, 1, 0, 0, 0); }
void gemm_tf32_batched(GemmArgs<float> const& first, int64_t batch, int64_t a_step, int64_t b_step, int64_t c_step) {
  gemm_batched<float, true>(first, batch, a_step, b_step, c_step);
}

extern GemmKernels const device_gemm_kernels;
constinit GemmKernels const device_gemm_kernels{
    {{gemm<float>, gemm_batched<float>}, {gemm<double>, gemm_batched<double>}}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
