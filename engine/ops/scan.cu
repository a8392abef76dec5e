// scan() on a device, step by step: the state stays in registers while operands come through shared memory, some steps
// at a time. A step takes 3·D·E multiply-adds (5 with a and b), which no reordering lessens; what a thread reads for 32
// of them is 6 (10) times 16 bytes of shared memory.
#include <heed/engine/cuda/warp.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/scan_device.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace scans {
namespace {

constexpr int rows = 8, columns = 4;  // of a state, a thread
constexpr int most_stage = 16;        // steps

/// `across` neighbouring lanes (a power of two) share the rows of their columns: of 8·across, a lane has 4·lane … and
/// 4·(across + lane) …, so that lanes read neighbouring places. A block takes some columns of one head.
template <class T, bool delta>
__global__ void __launch_bounds__(128, sizeof(T) == 4 ? 4 : 2)
    forward_steps(ScanArgs<T> a, ScanRows<T> out, T* final_states, T* states, int across, int stage, bool aligned) {
  HEED_DYNAMIC_SHARED(T, shared);
  int const dp = across * rows, wide = 32 / across * columns, block_columns = int(blockDim.x) / 32 * wide;
  T* const q = shared;
  T* const k = q + stage * dp;
  T* const w = k + stage * dp;
  T* const gain = w + stage * dp;
  T* const erase = gain + (delta ? stage * dp : 0);
  T* const v = erase + (delta ? stage * dp : 0);

  int64_t const column_blocks = (a.e + block_columns - 1) / block_columns, head = blockIdx.x / column_blocks;
  int64_t const b = head / a.heads, h = head % a.heads, start = blockIdx.x % column_blocks * block_columns;
  int const lane = warp::lane(), own_row = lane % across * 4;
  int const own_column = int(threadIdx.x) / 32 * wide + lane / across * columns;
  int64_t const column = start + own_column;
  int const there = a.e - column < columns ? int(a.e - column) : columns;  // of this thread's columns
  auto const row = [&](int r) { return r / 4 * 4 * across + own_row + r % 4; };

  T s[rows][columns];
#pragma unroll
  for (int r = 0; r < rows; ++r)
#pragma unroll
    for (int c = 0; c < columns; ++c)
      s[r][c] = a.initial && row(r) < a.d && c < there ? a.initial[(head * a.d + row(r)) * a.e + column + c] : T(0);
  auto const store_state = [&](T* to) {
#pragma unroll
    for (int r = 0; r < rows; ++r)
#pragma unroll
      for (int c = 0; c < columns; ++c)
        if (row(r) < a.d && c < there) to[row(r) * a.e + column + c] = s[r][c];
  };
  int64_t until_saved = 0, chunk = 0;
  int64_t const chunks = (a.steps + a.chunk - 1) / a.chunk;

#pragma unroll 1
  for (int64_t begin = 0; begin < a.steps; begin += stage) {
    int const n = a.steps - begin < stage ? int(a.steps - begin) : stage;
    __syncthreads();
    for (int x = int(threadIdx.x); x < n * dp; x += int(blockDim.x)) {
      int const d = x % dp;
      int64_t const t = begin + x / dp;
      bool const is = d < a.d;
      q[x] = is ? a.scale * a.q.at(b, h)[t * a.q.row + d] : T(0);
      k[x] = is ? a.k.at(b, h)[t * a.k.row + d] : T(0);
      w[x] = is && a.decay.data ? ::exp(a.decay.at(b, h)[t * a.decay.row + (a.channels ? d : 0)]) : T(1);
      if constexpr (delta) {
        gain[x] = is ? a.a.at(b, h)[t * a.a.row + d] : T(0);
        erase[x] = is ? a.b.at(b, h)[t * a.b.row + d] : T(0);
      }
    }
    for (int x = int(threadIdx.x); x < n * block_columns; x += int(blockDim.x)) {
      int64_t const c = start + x % block_columns;
      v[x] = c < a.e ? a.v.at(b, h)[(begin + x / block_columns) * a.v.row + c] : T(0);
    }
    __syncthreads();
#pragma unroll 1
    for (int t = 0; t < n; ++t) {
      if (states && until_saved == 0) {
        store_state(states + (head * chunks + chunk++) * a.d * a.e);
        until_saved = a.chunk;
      }
      --until_saved;
      auto const part = [&](T const* of, int half) { return four(of + t * dp + half * 4 * across + own_row); };
      auto const all_rows = [&](Four<T>& sum) {
#pragma unroll 1
        for (int distance = across / 2; distance > 0; distance /= 2)
#pragma unroll
          for (int c = 0; c < columns; ++c) sum.x[c] += __shfl_xor_sync(warp::all, sum.x[c], distance);
      };
      auto const read = [&](T const* of, Four<T>& sum) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          Four<T> const x = part(of, half);
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int c = 0; c < columns; ++c) sum.x[c] += x.x[i] * s[half * 4 + i][c];
        }
      };
      Four<T> u{}, o{};
      if constexpr (delta) {
        read(erase, u);
        all_rows(u);
      }
      if (!a.inclusive) read(q, o);
      Four<T> const value = four(v + t * block_columns + own_column);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Four<T> const decay = part(w, half), key = part(k, half), g = delta ? part(gain, half) : Four<T>{};
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int c = 0; c < columns; ++c) {
            T x = s[half * 4 + i][c] * decay.x[i];
            if constexpr (delta) x += g.x[i] * u.x[c];
            s[half * 4 + i][c] = x + key.x[i] * value.x[c];
          }
      }
      if (a.inclusive) read(q, o);
      all_rows(o);
      if (own_row != 0) continue;
      T* const to = out.at(b, h) + (begin + t) * out.row + column;
      if (aligned && there == columns) {
        *reinterpret_cast<Four<T>*>(to) = o;
      } else {
#pragma unroll
        for (int c = 0; c < columns; ++c)
          if (c < there) to[c] = o.x[c];
      }
    }
  }
  store_state(final_states + head * a.d * a.e);
}

template <class T>
void forward(ScanArgs<T> const& a, ScanRows<T> out, T* state, T* states, ScanWay way) {
  if (way != ScanWay::steps || a.d > 32 * rows) return forward_by_chunks(a, out, state, states);
  int across = 1;
  while (across * rows < a.d) across *= 2;
  int64_t const wide = 32 / across * columns, warps = a.e > 3 * wide ? 4 : (a.e + wide - 1) / wide;
  int64_t const column_blocks = (a.e + warps * wide - 1) / (warps * wide);
  size_t const step = size_t((a.a.data ? 5 : 3) * across * rows + warps * wide) * sizeof(T);
  int const fit = int(49152 / step), stage = fit < most_stage ? fit : most_stage;
  bool const aligned =
      reinterpret_cast<uintptr_t>(out.data) % 16 == 0 && out.batch % 4 == 0 && out.head % 4 == 0 && out.row % 4 == 0;
  launch(a.a.data ? forward_steps<T, true> : forward_steps<T, false>, "scan",
         in_a_row(a.batch * a.heads * column_blocks), {unsigned(32 * warps)}, size_t(stage) * step, a, out, state,
         states, across, stage, aligned);
}

template <class T>
void backward(ScanArgs<T> const& a, ScanGradArgs<T> const& g, ScanWay) {
  backward_by_chunks(a, g);
}

}  // namespace
}  // namespace scans

extern ScanKernels const device_scan_kernels;
constinit ScanKernels const device_scan_kernels{
    {{scans::forward<float>, scans::backward<float>}, {scans::forward<double>, scans::backward<double>}}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
