// A tile of a matrix product in a block's registers: panels of A and B come through shared memory, the next ones on
// their way while these are multiplied (Volkov and Demmel, "Benchmarking GPUs to tune dense linear algebra", 2008).
// Where panels come from and where the tile goes is the caller's.
#pragma once

#include <heed/engine/cuda/mma.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// 4 neighbours: one or two instructions of 16 bytes.
template <class T>
struct alignas(16) Four {
  T x[4];
};

/// A block has warps_m × warps_n warps, each with 16·m_groups × 32·n_groups of C: a thread has 4 × 4 of every group, or
/// on the matrix units (tf32) what mma::row and mma::column say of 16 × 8.
template <int warps_m_, int warps_n_, int m_groups_, int n_groups_, bool whole_, bool units_ = false>
struct TileShape {
  static constexpr bool units = units_;
  static constexpr bool whole = whole_;  // the form for whole groups of 4 alone, which needs fewer registers
  static constexpr int warps_m = warps_m_, warps_n = warps_n_, m_groups = m_groups_, n_groups = n_groups_;
  static constexpr int threads = 32 * warps_m * warps_n, depth = 8;
  static constexpr int m = 16 * warps_m * m_groups, n = 32 * warps_n * n_groups;
  /// Blocks of a multiprocessor that registers are to allow, for elements of so many bytes.
  static constexpr int resident(size_t bytes) { return threads == 256 ? 2 : bytes == 4 ? 5 : 2; }
  /// A panel of `rows` lies in shared memory as [depth][pitch(rows)]: 16 rows written by a warp at 2 depths fall into
  /// different banks, and so do the 8 rows at 4 depths that matrix units read.
  static constexpr int pitch(int rows) { return rows + (units ? 8 : 4); }
};
using LargeTile = TileShape<4, 2, 2, 2, true>;   // 128 × 128, 256 threads
using SmallTile = TileShape<2, 2, 2, 1, false>;  // 64 × 64, 128 threads
using LargeUnitTile = TileShape<4, 2, 2, 2, true, true>;
using SmallUnitTile = TileShape<2, 2, 2, 1, false, true>;

template <class T, class S>
struct Tile {
  T sum[S::units ? 1 : S::m_groups * 4][S::units ? 1 : S::n_groups * 4] = {};
  T unit_sum[S::units ? S::m_groups : 1][S::units ? S::n_groups * 4 : 1][4] = {};
  static __device__ int lane() { return int(threadIdx.x % 32); }
  /// Where the warp's part of the tile begins, and in it this thread's first element.
  static __device__ int warp_m() { return int(threadIdx.x / 32) / S::warps_n * 16 * S::m_groups; }
  static __device__ int warp_n() { return int(threadIdx.x / 32) % S::warps_n * 32 * S::n_groups; }
  static __device__ int own_m() { return warp_m() + (S::units ? lane() / 4 : lane() / 8 * 4); }
  static __device__ int own_n() { return warp_n() + (S::units ? lane() / 4 : lane() % 8 * 4); }

  /// += Σ over `count` pairs of panels. fetch() takes the next pair from global memory into registers, store(a, b) puts
  /// it into shared memory.
  template <class Fetch, class Store>
  __device__ __forceinline__ void multiply(int count, Fetch const& fetch, Store const& store) {
    constexpr int pitch_a = S::pitch(S::m), pitch_b = S::pitch(S::n);
    HEED_SHARED(Four<T>, fours_a, 2 * S::depth * pitch_a / 4);  // aligned for whole Fours
    HEED_SHARED(Four<T>, fours_b, 2 * S::depth * pitch_b / 4);
    T* const shared_a = reinterpret_cast<T*>(fours_a);
    T* const shared_b = reinterpret_cast<T*>(fours_b);
    if (count > 0) {
      fetch();
      store(shared_a, shared_b);
    }
    int slot = 0;
#pragma unroll 1
    for (int tile = 0; tile < count; ++tile, slot ^= 1) {
      __syncthreads();
      bool const more = tile + 1 < count;
      if (more) fetch();
      T const* const ta = shared_a + slot * S::depth * pitch_a + own_m();
      T const* const tb = shared_b + slot * S::depth * pitch_b + own_n();
      if constexpr (S::units) {
        uint32_t va[S::m_groups][4], vb[S::n_groups * 4][2];
#pragma unroll
        for (int r = 0; r < S::m_groups; ++r)
#pragma unroll
          for (int e = 0; e < 4; ++e) va[r][e] = mma::tf32(ta[(lane() % 4 + e / 2 * 4) * pitch_a + r * 16 + e % 2 * 8]);
#pragma unroll
        for (int c = 0; c < S::n_groups * 4; ++c)
#pragma unroll
          for (int e = 0; e < 2; ++e) vb[c][e] = mma::tf32(tb[(lane() % 4 + e * 4) * pitch_b + c * 8]);
#pragma unroll
        for (int r = 0; r < S::m_groups; ++r)
#pragma unroll
          for (int c = 0; c < S::n_groups * 4; ++c) mma::m16n8k8_tf32(unit_sum[r][c], va[r], vb[c]);
      } else {
#pragma unroll
        for (int d = 0; d < S::depth; ++d) {
          Four<T> va[S::m_groups], vb[S::n_groups];
#pragma unroll
          for (int g = 0; g < S::m_groups; ++g) va[g] = *reinterpret_cast<Four<T> const*>(ta + d * pitch_a + g * 16);
#pragma unroll
          for (int g = 0; g < S::n_groups; ++g) vb[g] = *reinterpret_cast<Four<T> const*>(tb + d * pitch_b + g * 32);
#pragma unroll
          for (int r = 0; r < S::m_groups * 4; ++r)
#pragma unroll
            for (int c = 0; c < S::n_groups * 4; ++c) sum[r][c] += va[r / 4].x[r % 4] * vb[c / 4].x[c % 4];
        }
      }
      // The other half was read before the barrier above.
      if (more) store(shared_a + (slot ^ 1) * S::depth * pitch_a, shared_b + (slot ^ 1) * S::depth * pitch_b);
    }
  }

  /// write(row, column, values) for every run of neighbouring columns that this thread has: 4, or 2 of matrix units.
  template <class Write>
  __device__ __forceinline__ void each_run(Write const& write) const {
    if constexpr (S::units) {
#pragma unroll
      for (int r = 0; r < S::m_groups; ++r)
#pragma unroll
        for (int g = 0; g < S::n_groups * 4; ++g)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            T const pair[2] = {unit_sum[r][g][2 * h], unit_sum[r][g][2 * h + 1]};
            write(warp_m() + r * 16 + mma::row(2 * h), warp_n() + g * 8 + mma::column(0), pair);
          }
    } else {
#pragma unroll
      for (int r = 0; r < S::m_groups * 4; ++r)
#pragma unroll
        for (int g = 0; g < S::n_groups; ++g) {
          T four[4];
#pragma unroll
          for (int e = 0; e < 4; ++e) four[e] = sum[r][g * 4 + e];
          write(own_m() + r / 4 * 16 + r % 4, own_n() + g * 32, four);
        }
    }
  }
};

/// A long sum of few tiles is cut into parts of `size` panels each, by shape alone, so that enough blocks run.
struct DepthSplit {
  int64_t parts = 1, size = 1;
  DepthSplit(int64_t tiles, int64_t panels) {
    if (tiles < 96 && panels >= 64) {
      int64_t const wanted = (192 + tiles - 1) / tiles, most = panels / 16;
      parts = wanted < most ? wanted : most;
    }
    size = parts > 1 ? (panels + parts - 1) / parts : panels;
    if (parts > 1) parts = (panels + size - 1) / size;
  }
};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
