// 16-bit operands on the matrix units: panels come by asynchronous copies, `stages` of them on their way, into shared
// memory whose 16-byte chunks are swizzled so that neither copies nor ldmatrix meet in a bank.
#include <heed/engine/cuda/cp_async.h>
#include <heed/engine/cuda/kernel.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/cuda/mma.h>
#include <heed/engine/half.h>
#include <heed/engine/ops/matmul_half.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

constexpr int chunk = 8;    // elements of 16 bytes
constexpr int tile_k = 32;  // depth of a stage
constexpr int stages = 4;
constexpr int threads = 128;  // 2 × 2 warps

template <class E>
struct Panel {
  E const* at;
  int64_t row_step, depth_step, product_step;
  bool aligned;
};

template <class E>
struct Task {
  Panel<E> a, b;
  int64_t m, n, k, summed;
  E* c;
  int64_t c_row, c_step;
  E const* bias;
  bool accumulate, pairs;  // pairs: two neighbours of C may be written at once
};

/// A panel of `rows` × tile_k in shared memory: where depth is contiguous, [rows][tile_k] with 4 chunks a row, else
/// [tile_k][rows].
template <class E, int rows, bool along_depth, bool aligned>
struct Stage {
  static constexpr int elements = rows * tile_k, row_chunks = (along_depth ? tile_k : rows) / chunk;

  /// Place of chunk c of line r. 8 neighbouring lines at one c, and 8 chunks in a row, fall into 8 different places
  /// modulo 128 bytes.
  static __device__ int place(int r, int c) {
    return (r * row_chunks + (c ^ (along_depth ? r >> 1 & 3 : r & 7))) * chunk;
  }

  /// Starts the copies of a panel, of which rows_left × depth_left exist; the others are 0.
  static __device__ void fetch(Panel<E> const& panel, E const* at, uint16_t* to, int rows_left, int depth_left) {
    // A thread's copies stand at one chunk of lines that are `stride` apart, where the swizzle is the same.
    constexpr int stride = threads / row_chunks;
    static_assert(stride % 8 == 0);
    int const lines_left = along_depth ? rows_left : depth_left, left = along_depth ? depth_left : rows_left;
    int64_t const line_step = along_depth ? panel.row_step : panel.depth_step;
    int const first = int(threadIdx.x) / row_chunks, c = int(threadIdx.x) % row_chunks;
    int const whole = min(max(left - c * chunk, 0), chunk);
    uint16_t* target = to + place(first, c);
    if constexpr (aligned) {
      E const* from = at + first * line_step + c * chunk;
#pragma unroll
      for (int i = 0; i < elements / chunk / threads; ++i, from += stride * line_step) {
        int const here = first + i * stride < lines_left ? whole : 0;
        cp_async::copy_or_zero(target + i * stride * row_chunks * chunk, here ? from : panel.at, here * 2);
      }
    } else {
      int64_t const step = along_depth ? panel.depth_step : panel.row_step;
      E const* from = at + first * line_step + c * chunk * step;
#pragma unroll 1
      for (int r = first; r < first + elements / chunk / threads * stride; r += stride) {
#pragma unroll 1
        for (int e = 0; e < chunk; ++e) target[e] = r < lines_left && e < whole ? from[e * step].bits : 0;
        from += stride * line_step, target += stride * row_chunks * chunk;
      }
    }
  }

  /// Two neighbouring 8 × 16 (rows × depth) halves of A's 16 × 16 from row r and depth p on.
  static __device__ void load_a(uint32_t (&to)[4], uint16_t const* from, int r, int p) {
    int const lane = warp::lane(), low = lane / 8 % 2, high = lane / 16, line = lane % 8;
    if constexpr (along_depth)
      mma::ldmatrix<4>(to, from + place(r + low * 8 + line, p / chunk + high));
    else
      mma::ldmatrix_trans<4>(to, from + place(p + high * 8 + line, r / chunk + low));
  }
  /// B's 16 × 8 for rows (columns of B) r … r + 7 and r + 8 … r + 15.
  static __device__ void load_b(uint32_t (&to)[4], uint16_t const* from, int r, int p) {
    int const lane = warp::lane(), low = lane / 8 % 2, high = lane / 16, line = lane % 8;
    if constexpr (along_depth)
      mma::ldmatrix<4>(to, from + place(r + high * 8 + line, p / chunk + low));
    else
      mma::ldmatrix_trans<4>(to, from + place(p + low * 8 + line, r / chunk + high));
  }
};

__device__ inline int clipped(int64_t x, int most) { return x < most ? int(x) : most; }

/// A block computes 2·side × 2·side, a warp side × side.
template <class E, int side, bool aligned, bool a_along_depth, bool b_along_depth>
__global__ void __launch_bounds__(threads, side == 64 ? 2 : 4) multiply_tiles(Task<E> x) {
  using A = Stage<E, 2 * side, a_along_depth, aligned>;
  using B = Stage<E, 2 * side, b_along_depth, aligned>;
  HEED_DYNAMIC_SHARED(uint16_t, shared);
  auto const stage_a = [&](int slot) { return shared + slot * (A::elements + B::elements); };
  auto const stage_b = [&](int slot) { return stage_a(slot) + A::elements; };

  int const m_tiles = int((x.m + 2 * side - 1) / (2 * side)), n_tiles = int((x.n + 2 * side - 1) / (2 * side));
  int const z = int(blockIdx.x) / (m_tiles * n_tiles), id = int(blockIdx.x) - z * m_tiles * n_tiles;
  // 8 rows of tiles are walked column by column: blocks that run together share panels in the second-level cache.
  int const band = id / (8 * n_tiles), inside = id - band * 8 * n_tiles, height = min(m_tiles - band * 8, 8);
  int64_t const i = int64_t(band * 8 + inside % height) * (2 * side), j = int64_t(inside / height) * (2 * side);
  int const m_left = clipped(x.m - i, 2 * side), n_left = clipped(x.n - j, 2 * side);

  int const tiles_each = int((x.k + tile_k - 1) / tile_k), count = int(tiles_each * x.summed);
  int next = 0;  // of the present product
  E const* a = x.a.at + i * x.a.row_step + z * x.summed * x.a.product_step;
  E const* b = x.b.at + j * x.b.row_step + z * x.summed * x.b.product_step;
  auto const fetch = [&](int slot) {
    int const left = clipped(x.k - int64_t(next) * tile_k, tile_k);
    A::fetch(x.a, a, stage_a(slot), m_left, left);
    B::fetch(x.b, b, stage_b(slot), n_left, left);
    a += tile_k * x.a.depth_step, b += tile_k * x.b.depth_step;
    if (++next == tiles_each) {
      a += x.a.product_step - int64_t(tiles_each) * tile_k * x.a.depth_step;
      b += x.b.product_step - int64_t(tiles_each) * tile_k * x.b.depth_step;
      next = 0;
    }
  };

  int const warp = int(threadIdx.x / 32), own_m = warp / 2 * side, own_n = warp % 2 * side;
  float sum[side / 16][side / 8][4] = {};
#pragma unroll
  for (int tile = 0; tile < stages - 1; ++tile) {
    if (tile < count) fetch(tile);
    cp_async::commit();
  }
  int slot = 0, free = stages - 1;
#pragma unroll 1
  for (int tile = 0; tile < count; ++tile) {
    cp_async::wait_group<stages - 2>();
    __syncthreads();  // what all have fetched is there, and the stage before this one has been read by all
    if (tile + stages - 1 < count) fetch(free);
    cp_async::commit();
    uint16_t const* const ta = stage_a(slot);
    uint16_t const* const tb = stage_b(slot);
#pragma unroll
    for (int p = 0; p < tile_k; p += 16) {
      uint32_t va[side / 16][4], vb[side / 16][4];
#pragma unroll
      for (int r = 0; r < side / 16; ++r) A::load_a(va[r], ta, own_m + r * 16, p);
#pragma unroll
      for (int c = 0; c < side / 16; ++c) B::load_b(vb[c], tb, own_n + c * 16, p);
#pragma unroll
      for (int r = 0; r < side / 16; ++r)
#pragma unroll
        for (int c = 0; c < side / 8; ++c) {
          uint32_t const half[2] = {vb[c / 2][c % 2 * 2], vb[c / 2][c % 2 * 2 + 1]};
          mma::m16n8k16<E>(sum[r][c], va[r], half);
        }
    }
    slot = slot + 1 == stages ? 0 : slot + 1;
    free = free + 1 == stages ? 0 : free + 1;
  }

#pragma unroll
  for (int r = 0; r < side / 16; ++r)
#pragma unroll
    for (int c = 0; c < side / 8; ++c)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        int const row = own_m + r * 16 + mma::row(2 * h), column = own_n + c * 8 + mma::column(0);
        if (row >= m_left || column >= n_left) continue;
        bool const second = column + 1 < n_left;
        E* const to = x.c + z * x.c_step + (i + row) * x.c_row + j + column;
        float value[2] = {sum[r][c][2 * h], sum[r][c][2 * h + 1]};
        if (x.accumulate) {
          value[0] += float(to[0]);
          if (second) value[1] += float(to[1]);
        }
        if (x.bias) {
          value[0] += float(x.bias[j + column]);
          if (second) value[1] += float(x.bias[j + column + 1]);
        }
        if (x.pairs && second) {
          *reinterpret_cast<uint32_t*>(to) = mma::pack<E>(value[0], value[1]);
        } else {
          to[0] = E(value[0]);
          if (second) to[1] = E(value[1]);
        }
      }
}

template <class E>
Panel<E> panel(E const* at, int64_t row_step, int64_t depth_step, int64_t rows, int64_t depth, int64_t product_step) {
  if (rows == 1) row_step = depth_step == 1 ? chunk : 1;
  if (depth == 1) depth_step = row_step == 1 ? chunk : 1;
  int64_t const other = depth_step == 1 ? row_step : depth_step;
  return {at, row_step, depth_step, product_step,
          (row_step == 1 || depth_step == 1) && other % chunk == 0 && product_step % chunk == 0 &&
              reinterpret_cast<uintptr_t>(at) % 16 == 0};
}

template <int side, bool aligned, class E>
void run(Task<E> const& x, int64_t batch) {
  bool const a = x.a.depth_step == 1, b = x.b.depth_step == 1;
  auto const kernel =
      a   ? b ? multiply_tiles<E, side, aligned, true, true> : multiply_tiles<E, side, aligned, true, false>
        : b ? multiply_tiles<E, side, aligned, false, true>
          : multiply_tiles<E, side, aligned, false, false>;
  int64_t const tiles = ceil_div(x.m, 2 * side) * ceil_div(x.n, 2 * side) * batch;
  size_t const shared = size_t(stages) * 2 * (2 * side * tile_k) * sizeof(uint16_t);
  launch(kernel, "gemm_half", in_a_row(tiles), {threads}, shared, x);
}

}  // namespace

template <class E>
void gemm_half(GemmArgs<E> const& first, int64_t batch, int64_t a_step, int64_t b_step, int64_t c_step, int tile) {
  GemmArgs<E> g = first;
  if (batch <= 0 || g.m <= 0 || g.n <= 0) return;
  if (g.k < 0) g.k = 0;
  int64_t summed = 1;
  if (batch > 1 && b_step == 0 && a_step == g.m * g.a_row && c_step == g.m * g.c_row)
    g.m *= batch, batch = 1;  // one B for all rows
  else if (c_step == 0)
    summed = batch, batch = 1;
  check(double(g.k) * double(summed) < 6e10, "gemm", [] {
    return Complaint{"expected sums of fewer than 6e10 products", "split the summed axis"};
  });
  Task<E> x{};
  x.a = panel(g.a, g.a_row, g.a_col, g.m, g.k, a_step);
  x.b = panel(g.b, g.b_col, g.b_row, g.n, g.k, b_step);
  x.m = g.m, x.n = g.n, x.k = g.k, x.summed = summed;
  x.c = g.c, x.c_row = g.c_row, x.c_step = c_step, x.bias = g.bias, x.accumulate = g.accumulate;
  x.pairs = reinterpret_cast<uintptr_t>(g.c) % (2 * sizeof(E)) == 0 && g.c_row % 2 == 0 && c_step % 2 == 0;
  bool const aligned = x.a.aligned && x.b.aligned;
  if (tile == 0) tile = g.m > 64 && g.n > 64 && ceil_div(g.m, 128) * ceil_div(g.n, 128) * batch >= 64 ? 128 : 64;
  if (!aligned)
    run<32, false>(x, batch);
  else if (tile == 128)
    run<64, true>(x, batch);
  else
    run<32, true>(x, batch);
}
template void gemm_half(GemmArgs<float16> const&, int64_t, int64_t, int64_t, int64_t, int);
template void gemm_half(GemmArgs<bfloat16> const&, int64_t, int64_t, int64_t, int64_t, int);

namespace {

template <class E>
void gemm(GemmArgs<E> const& g) {
  gemm_half(g, 1, 0, 0, 0);
}
template <class E>
void gemm_batched(GemmArgs<E> const& first, int64_t batch, int64_t a_step, int64_t b_step, int64_t c_step) {
  gemm_half(first, batch, a_step, b_step, c_step);
}

}  // namespace

extern MatrixUnitKernels const device_matrix_unit_kernels;
constinit MatrixUnitKernels const device_matrix_unit_kernels{
    {{gemm<float16>, gemm_batched<float16>}, {gemm<bfloat16>, gemm_batched<bfloat16>}}, {gemm_tf32, gemm_tf32_batched}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
