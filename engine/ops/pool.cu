// Maxima of windows: one thread each; their gradient: one thread for each element of x, which walks the windows that
// reach over it. Nothing is written twice, so that sums have an order.
#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

struct Axes {
  Windows z, y, x;
  Axes(Windows const (&w)[3]) : z(w[0]), y(w[1]), x(w[2]) {}
  __host__ __device__ int64_t in() const { return z.in * y.in * x.in; }
  __host__ __device__ int64_t out() const { return z.count * y.count * x.count; }
};

/// Reads the taps of a window through the caches, 4 bytes each (f32), and writes 12 bytes.
template <class T>
__global__ void __launch_bounds__(block_threads)
    maxima_kernel(Axes w, int64_t numel, T const* x, T* y, int64_t* index) {
  int64_t const i = int64_t(blockIdx.x) * block_threads + int(threadIdx.x);
  if (i >= numel) return;
  int64_t const plane = i / w.out(), ox = i % w.x.count, oy = i / w.x.count % w.y.count,
                oz = i / w.x.count / w.y.count % w.z.count;
  using Limits = std::numeric_limits<T>;
  T best = Limits::has_infinity ? T(-Limits::infinity()) : Limits::lowest();
  int64_t at = -1, first_x = w.x.first(ox), last_x = w.x.last(ox), first_y = w.y.first(oy), last_y = w.y.last(oy);
  x += plane * w.in();
  for (int64_t iz = w.z.first(oz), last_z = w.z.last(oz); iz < last_z; iz += w.z.step)
    for (int64_t iy = first_y; iy < last_y; iy += w.y.step) {
      int64_t const line = (iz * w.y.in + iy) * w.x.in;
      for (int64_t ix = first_x; ix < last_x; ix += w.x.step) {
        T const here = x[line + ix];
        if (at < 0 || here > best || here != here) best = here, at = line + ix;
      }
    }
  y[i] = best;
  index[i] = at;
}

/// Reads 12 bytes of each window that reaches over an element (f32), and writes 4.
template <class T>
__global__ void __launch_bounds__(block_threads)
    spread_kernel(Axes w, int64_t numel, T const* g, int64_t const* index, T* dx) {
  int64_t const i = int64_t(blockIdx.x) * block_threads + int(threadIdx.x);
  if (i >= numel) return;
  int64_t const plane = i / w.in(), place = i % w.in(), ix = place % w.x.in, iy = place / w.x.in % w.y.in,
                iz = place / w.x.in / w.y.in;
  int64_t const low_x = w.x.low(ix), high_x = w.x.high(ix), low_y = w.y.low(iy), high_y = w.y.high(iy);
  T sum = 0;
  for (int64_t oz = w.z.low(iz), high_z = w.z.high(iz); oz < high_z; ++oz)
    for (int64_t oy = low_y; oy < high_y; ++oy) {
      int64_t const line = plane * w.out() + (oz * w.y.count + oy) * w.x.count;
      for (int64_t ox = low_x; ox < high_x; ++ox)
        if (index[line + ox] == place) sum += g[line + ox];
    }
  dx[i] = sum;
}

template <class T>
void maxima(Windows const (&windows)[3], int64_t planes, T const* x, T* y, int64_t* index) {
  Axes const w(windows);
  if (int64_t const n = planes * w.out(); n > 0)
    launch(maxima_kernel<T>, "max_pool", in_a_row((n + block_threads - 1) / block_threads), {block_threads}, 0, w, n, x,
           y, index);
}
template <class T>
void spread(Windows const (&windows)[3], int64_t planes, T const* g, int64_t const* index, T* dx) {
  Axes const w(windows);
  if (int64_t const n = planes * w.in(); n > 0)
    launch(spread_kernel<T>, "max_pool_backward", in_a_row((n + block_threads - 1) / block_threads), {block_threads}, 0,
           w, n, g, index, dx);
}

template <class T>
constexpr DevicePoolTable<T> table{maxima<T>, spread<T>};

}  // namespace

constinit DevicePoolKernels const device_pool_kernels{{table<float>, table<double>}, maxima<int64_t>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
