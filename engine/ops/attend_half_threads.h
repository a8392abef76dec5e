// What the kernels of 16-bit attention share: tiles in shared memory, their products, who sees whom. A tile of rows of
// d elements lies as [rows][d / 8] chunks of 16 bytes, swizzled so that neither copies nor ldmatrix, along depth or
// transposed, meet in a bank.
#pragma once

#include <heed/engine/cuda/cp_async.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/cuda/mma.h>
#include <heed/engine/ops/attend_half.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace half_attention {

constexpr int threads = 128, warps = 4;
constexpr float log2_e = 1.4426950408889634f;
constexpr float nothing = -__builtin_huge_valf();

/// 2^x, about 2 units in the last place off; 2^−∞ = 0.
__device__ inline float exp2_about(float x) {
#if defined(__CUDACC__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return emu::approximate(exp2f(x));
#endif
}

template <class E>
struct Rows {  // of a [B, H, T, d] operand
  E* at;
  int64_t batch, head, row;
  __device__ E* head_of(int64_t b, int64_t h) const { return at + b * batch + h * head; }
};
template <class E>
Rows<E> rows(E* at, AttendStrides const& s) {
  return {at, s.batch, s.head, s.row};
}

template <class E>
struct Scene {
  int64_t heads, kv_heads, tq, tk;
  Rows<E const> q, k, v;
  float scale;
  int64_t shift_low, shift_high;

  __device__ int64_t key_head(int64_t h) const { return h * kv_heads / heads; }
  /// Whether none, or all, of keys [j, j + keys) are seen by queries [i, i + queries).
  __device__ bool empty(int64_t i, int64_t queries, int64_t j, int64_t keys) const {
    return j + keys - 1 < i + shift_low || j > i + queries - 1 + shift_high;
  }
  __device__ bool full(int64_t i, int64_t queries, int64_t j, int64_t keys) const {
    return j >= i + queries - 1 + shift_low && j + keys - 1 <= i + shift_high;
  }
};

__device__ inline int clipped(int64_t x, int most) { return x < most ? int(x) : most; }
/// A number of a tile's rows that is near enough not to be an int64_t.
__device__ inline int near(int64_t x) { return x < -4096 ? -4096 : x > 4096 ? 4096 : int(x); }

template <class E, int d>
struct Tiles {
  static constexpr int chunks = d / 8;
  static constexpr int elements(int rows) { return rows * d; }
  static __device__ int place(int row, int chunk) { return (row * chunks + (chunk ^ (row & 7))) * 8; }

  /// Starts the copy of `rows` rows, of which [first, end) exist; the others are 0.
  template <int rows>
  static __device__ void fetch(E const* from, int64_t row_step, uint16_t* to, int first, int end) {
    constexpr int stride = threads / chunks;
    static_assert(stride % 8 == 0 && rows % stride == 0);
    int const row = int(threadIdx.x) / chunks, chunk = int(threadIdx.x) % chunks;
    uint16_t* target = to + place(row, chunk);
    int64_t at = row * row_step + chunk * 8;
#pragma unroll
    for (int i = 0; i < rows / stride; ++i, at += stride * row_step) {
      int const r = row + i * stride;
      bool const is = r >= first && r < end;
      cp_async::copy_or_zero(target + i * stride * d, from + (is ? at : first * row_step), is ? 16 : 0);
    }
  }

  /// Rows r … r + 15, depth p … p + 15 as operand A.
  static __device__ void load_a(uint32_t (&to)[4], uint16_t const* from, int r, int p) {
    int const lane = warp::lane(), low = lane / 8 % 2, high = lane / 16, line = lane % 8;
    mma::ldmatrix<4>(to, from + place(r + low * 8 + line, p / 8 + high));
  }
  /// As operand B, of which rows are columns: r … r + 7 in to[0], to[1], r + 8 … r + 15 in the others.
  static __device__ void load_b(uint32_t (&to)[4], uint16_t const* from, int r, int p) {
    int const lane = warp::lane(), low = lane / 8 % 2, high = lane / 16, line = lane % 8;
    mma::ldmatrix<4>(to, from + place(r + high * 8 + line, p / 8 + low));
  }
  /// As operand B with rows r … r + 15 as depth: columns p … p + 7 in to[0], to[1], p + 8 … p + 15 in the others.
  static __device__ void load_b_trans(uint32_t (&to)[4], uint16_t const* from, int r, int p) {
    int const lane = warp::lane(), low = lane / 8 % 2, high = lane / 16, line = lane % 8;
    mma::ldmatrix_trans<4>(to, from + place(r + low * 8 + line, p / 8 + high));
  }

  /// s = a[own … own + 16·m)·bᵀ, over depth.
  template <int m, int n>
  static __device__ void multiply(float (&s)[m][n][4], uint16_t const* a, int own, uint16_t const* b) {
#pragma unroll
    for (int r = 0; r < m; ++r)
#pragma unroll
      for (int c = 0; c < n; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) s[r][c][i] = 0;
#pragma unroll 2  // more at a time leave too few registers
    for (int p = 0; p < d; p += 16) {
      uint32_t va[m][4];
#pragma unroll
      for (int r = 0; r < m; ++r) load_a(va[r], a, own + r * 16, p);
#pragma unroll
      for (int c = 0; c < n; c += 2) {
        uint32_t vb[4];
        load_b(vb, b, c * 8, p);
        uint32_t const left[2] = {vb[0], vb[1]}, right[2] = {vb[2], vb[3]};
#pragma unroll
        for (int r = 0; r < m; ++r) {
          mma::m16n8k16<E>(s[r][c], va[r], left);
          mma::m16n8k16<E>(s[r][c + 1], va[r], right);
        }
      }
    }
  }

  /// to += weights·rows, the weights rounded to E: what a product left in registers is an operand A of the next.
  template <int m, int n>
  static __device__ void add_weighted(float (&to)[m][d / 8][4], float const (&weights)[m][n][4], uint16_t const* rows) {
#pragma unroll
    for (int k = 0; k < n; k += 2) {
      uint32_t va[m][4];
#pragma unroll
      for (int r = 0; r < m; ++r)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          va[r][i] = mma::pack<E>(weights[r][k + i / 2][i % 2 * 2], weights[r][k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
      for (int c = 0; c < d / 8; c += 2) {
        uint32_t vb[4];
        load_b_trans(vb, rows, k * 8, c * 8);
        uint32_t const left[2] = {vb[0], vb[1]}, right[2] = {vb[2], vb[3]};
#pragma unroll
        for (int r = 0; r < m; ++r) {
          mma::m16n8k16<E>(to[r][c], va[r], left);
          mma::m16n8k16<E>(to[r][c + 1], va[r], right);
        }
      }
    }
  }

  // A tile that hides something may hold NaN or Inf where nobody looks, and 0 times those must not be added. There they
  // become 0 in shared memory, `keys` says in which rows (a bit each), and add_odd() adds them from global memory where
  // they are seen.

  /// Whether there are any, for the block. keys: in shared memory, 0 before.
  static __device__ bool clear_odd(uint16_t* tile, int count, unsigned* keys) {
    constexpr unsigned exponent = std::is_same_v<E, bfloat16> ? 0x7F80u : 0x7C00u;
    bool found = false;
#pragma unroll 1
    for (int i = int(threadIdx.x); i < count * d; i += threads) {
      if ((tile[i] & exponent) != exponent) continue;
      tile[i] = 0, found = true;
      atomicOr(keys + i / d / 32, 1u << i / d % 32);
    }
    return __syncthreads_or(found);
  }
  /// Columns of weights are rows of `from`; of them row r of the warp's 16·m sees r + low … r + high, below `count`.
  template <int m, int n>
  static __device__ void add_odd(float (&to)[m][d / 8][4], float const (&weights)[m][n][4], unsigned* keys,
                                 E const* from, int64_t row_step, int low, int high, int count) {
    int const lane = warp::lane();
#pragma unroll 1
    for (int x = 0; x < n * 8; ++x) {
      if (!(keys[x / 32] >> x % 32 & 1)) continue;
#pragma unroll
      for (int r = 0; r < m; ++r)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float weight = 0;
#pragma unroll
          for (int c = 0; c < n; ++c) {
            // Both are read, whatever x is: what is chosen by an address would have to lie in memory.
            float const even = weights[r][c][2 * half], odd = weights[r][c][2 * half + 1];
            float const here = x % 2 ? odd : even;
            weight = x / 8 == c ? here : weight;
          }
          weight = float(E(__shfl_sync(warp::all, weight, (lane & 28) + x % 8 / 2)));
          int const shift = x - r * 16 - half * 8 - lane / 4;
          if (x >= count || shift < low || shift > high) continue;
#pragma unroll
          for (int c = 0; c < d / 8; ++c)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              float const value = float(from[x * row_step + c * 8 + mma::column(e)]);
              if (!(value - value == 0)) to[r][c][2 * half + e] += weight * value;
            }
        }
    }
    __syncthreads();
    if (threadIdx.x < 2) keys[threadIdx.x] = 0;
  }

  /// Writes the warp's 16·m rows of results times factor(r, half) as E, through its own rows of a tile. [first, end) of
  /// the tile's rows exist.
  template <int m, class Factor>
  static __device__ void store(float const (&from)[m][d / 8][4], Factor const& factor, uint16_t* tile, int own, E* to,
                               int64_t row_step, int end) {
    int const lane = warp::lane(), group = lane / 4, quarter = lane % 4;
    __syncwarp();
#pragma unroll
    for (int r = 0; r < m; ++r)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float const f = factor(r, half);
#pragma unroll
        for (int c = 0; c < d / 8; ++c)
          *reinterpret_cast<uint32_t*>(tile + place(own + r * 16 + half * 8 + group, c) + 2 * quarter) =
              mma::pack<E>(from[r][c][2 * half] * f, from[r][c][2 * half + 1] * f);
      }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 16 * m * chunks / 32; ++i) {
      int const row = own + (i * 32 + lane) / chunks, chunk = lane % chunks;
      if (row < end)
        *reinterpret_cast<uint4*>(to + row * row_step + chunk * 8) =
            *reinterpret_cast<uint4 const*>(tile + place(row, chunk));
    }
  }
};

template <class E>
Scene<E> scene(AttendHalfArgs<E> const& a) {
  return {
      a.heads, a.kv_heads,  a.tq,        a.tk, rows(a.q, a.q_strides), rows(a.k, a.k_strides), rows(a.v, a.v_strides),
      a.scale, a.shift_low, a.shift_high};
}
/// attend_half_gradients.cu
template <class E>
void backward(AttendHalfArgs<E> const& a, AttendHalfGradArgs<E> const& g);

}  // namespace half_attention
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
