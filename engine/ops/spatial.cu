// Sparse maps along an axis, reading planes at indices and adding up what was read, positions in a grid: one thread for
// each number that is written.
#include <heed/engine/cuda/elements.h>
#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// An AxisMap in device memory, weights as they are summed with.
template <class W>
struct DeviceMap {
  int64_t in, out;
  int64_t const *first, *from;
  W const* weight;
};

/// f(map) with the map in device memory, weights as convert(double) has them. One copy carries all of it.
template <class W, class Convert, class F>
void with_map(AxisMap const& map, Convert const& convert, F const& f) {
  static_assert(sizeof(W) <= 8);
  size_t const places = map.first.size() + map.from.size();
  std::vector<int64_t> packed(map.first);
  packed.insert(packed.end(), map.from.begin(), map.from.end());
  packed.resize(places + (map.weight.size() * sizeof(W) + 7) / 8);
  W* const weight = reinterpret_cast<W*>(packed.data() + places);
  for (size_t i = 0; i < map.weight.size(); ++i) weight[i] = convert(map.weight[i]);
  DeviceScratch<int64_t> const room(int64_t(packed.size()));
  check_device(rt::copy_to_device(room.data(), packed.data(), packed.size() * sizeof(int64_t), current_stream()),
               "copy to the device");
  f(DeviceMap<W>{map.in, map.out(), room.data(), room.data() + map.first.size(),
                 reinterpret_cast<W const*>(room.data() + places)});
}

/// finish(sum) of each output. Reads an element and 8 to 16 bytes of the map (in the caches) a term.
template <class T, class W, class Finish>
__global__ void __launch_bounds__(block_threads)
    apply_kernel(DeviceMap<W> map, Finish finish, T const* x, T* y, int64_t inner, int64_t numel) {
  int64_t const i = this_element();
  if (i >= numel) return;
  int64_t const o = i / inner / map.out, out = i / inner % map.out;
  T const* const from = x + o * map.in * inner + i % inner;
  W sum = 0;
  for (int64_t k = map.first[out], last = map.first[out + 1]; k < last; ++k)
    sum += map.weight[k] * W(from[map.from[k] * inner]);
  y[i] = finish(sum);
}

struct AsItIs {
  template <class T>
  __device__ T operator()(T sum) const {
    return sum;
  }
};
template <class T>
void apply(AxisMap const& map, T const* x, T* y, int64_t outer, int64_t inner) {
  int64_t const numel = outer * map.out() * inner;
  if (numel == 0) return;
  with_map<T>(
      map, [](double w) { return T(w); },
      [&](DeviceMap<T> const& here) {
        launch(apply_kernel<T, T, AsItIs>, "map_axis", blocks_of_one(numel), {element_threads}, 0, here, AsItIs{}, x, y,
               inner, numel);
      });
}

struct ToByte {
  int bits;
  __device__ uint8_t operator()(int64_t sum) const {
    int64_t const rounded = (sum + (bits > 0 ? int64_t{1} << (bits - 1) : 0)) >> bits;
    return uint8_t(rounded < 0 ? 0 : rounded > 255 ? 255 : rounded);
  }
};
void apply_u8(AxisMap const& map, int bits, uint8_t const* x, uint8_t* y, int64_t outer, int64_t inner) {
  int64_t const numel = outer * map.out() * inner;
  if (numel == 0) return;
  with_map<int64_t>(
      map, [&](double w) { return fixed_point(w, bits); },
      [&](DeviceMap<int64_t> const& here) {
        launch(apply_kernel<uint8_t, int64_t, ToByte>, "interpolate", blocks_of_one(numel), {element_threads}, 0, here,
               ToByte{bits}, x, y, inner, numel);
      });
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    gather_kernel(Planes s, T const* x, int64_t const* index, T* y, int64_t numel) {
  int64_t const i = this_element();
  if (i >= numel) return;
  int64_t const plane = i / s.n, place = index[plane / s.channels * s.n + i % s.n];
  y[i] = place < 0 ? T(0) : x[plane * s.size + place];
}
template <class T>
void gather(Planes const& s, T const* x, int64_t const* index, T* y) {
  int64_t const numel = s.batch * s.channels * s.n;
  if (numel > 0)
    launch(gather_kernel<T>, "gather_planes", blocks_of_one(numel), {element_threads}, 0, s, x, index, y, numel);
}

constexpr int joint = 8;  // channels that one look at an index serves

/// A block has `joint` planes, a thread every 256th place of them: it looks at all n indices in their order and adds up
/// what is read at its places. Sums have an order without sorting, for 256·n looks a block, 6 of them for one number
/// that is added: few and long planes want a sort instead.
template <class T>
__global__ void __launch_bounds__(block_threads) scatter_kernel(Planes s, T const* y, int64_t const* index, T* x) {
  int64_t const chunks = (s.channels + joint - 1) / joint, b = blockIdx.x / chunks;
  int64_t const first = blockIdx.x % chunks * joint, last = first + joint < s.channels ? first + joint : s.channels;
  x += b * s.channels * s.size, y += b * s.channels * s.n, index += b * s.n;
  for (int64_t i = first * s.size + threadIdx.x; i < last * s.size; i += block_threads) x[i] = 0;
  __syncthreads();
  for (int64_t p = 0; p < s.n; ++p) {
    int64_t const place = index[p];
    if (place < 0 || place % block_threads != int(threadIdx.x)) continue;
    for (int64_t c = first; c < last; ++c) x[c * s.size + place] += y[c * s.n + p];
  }
}
template <class T>
void scatter(Planes const& s, T const* y, int64_t const* index, T* x) {
  if (s.batch * s.channels * s.size > 0)
    launch(scatter_kernel<T>, "scatter_planes", in_a_row(s.batch * ((s.channels + joint - 1) / joint)), {block_threads},
           0, s, y, index, x);
}

/// last[b, s] = the largest p with index[b, p] = s: atomics on integers, whose maximum has no order.
__global__ void __launch_bounds__(block_threads) last_kernel(Planes s, int64_t const* index, int* last, int64_t numel) {
  int64_t const i = this_element();
  if (i < numel && index[i] >= 0) atomicMax(last + i / s.n * s.size + index[i], int(i % s.n));
}
template <class T>
__global__ void __launch_bounds__(block_threads)
    place_kernel(Planes s, T const* y, int const* last, T* x, int64_t numel) {
  int64_t const i = this_element();
  if (i >= numel) return;
  int64_t const plane = i / s.size;
  int const p = last[plane / s.channels * s.size + i % s.size];
  x[i] = p < 0 ? T(0) : y[plane * s.n + p];
}
template <class T>
void place(Planes const& s, T const* y, int64_t const* index, T* x) {
  int64_t const count = s.batch * s.n, keys = s.batch * s.size, numel = keys * s.channels;
  if (numel == 0) return;
  check(s.n <= 0x7fffffff, "max_unpool", [] {
    return Complaint{"expected fewer than 2^31 elements of a plane", "split it"};
  });
  DeviceScratch<int> const last(keys);
  check_device(rt::fill_bytes(last.data(), 0xff, size_t(keys) * sizeof(int), current_stream()), "max_unpool");
  if (count > 0)
    launch(last_kernel, "max_unpool", blocks_of_one(count), {element_threads}, 0, s, index, last.data(), count);
  launch(place_kernel<T>, "max_unpool", blocks_of_one(numel), {element_threads}, 0, s, y, last.data(), x, numel);
}

template <class T>
__global__ void __launch_bounds__(block_threads) locate_kernel(GridAxis axis, int64_t n, T const* x, T* at, T* slope) {
  int64_t const i = this_element();
  if (i >= n) return;
  Located const u = axis.bounded(axis.locate(double(x[i])));
  at[i] = T(u.at), slope[i] = T(u.slope);
}
template <class T>
void locate(GridAxis const& axis, int64_t n, T const* x, T* at, T* slope) {
  if (n > 0) launch(locate_kernel<T>, "grid_sample", blocks_of_one(n), {element_threads}, 0, axis, n, x, at, slope);
}

template <class T>
__global__ void __launch_bounds__(block_threads) tap_kernel(GridTap<T> tap, int64_t n, int64_t* index) {
  int64_t const i = this_element();
  if (i < n) index[i] = tap.place(i);
}
template <class T>
void tap(GridTap<T> const& tap, int64_t n, int64_t* index) {
  if (n > 0) launch(tap_kernel<T>, "grid_sample", blocks_of_one(n), {element_threads}, 0, tap, n, index);
}

template <class T>
constexpr SpatialKernelsOf<T> table{apply<T>, gather<T>, scatter<T>, place<T>, locate<T>, tap<T>};

}  // namespace

constinit SpatialKernels const device_spatial_kernels{{table<float>, table<double>}, apply<int64_t>, apply_u8};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
