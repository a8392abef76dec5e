// What moves elements on an accelerator: between strided and contiguous, constants, and between types.
#include <heed/engine/cuda/elements.h>
#include <heed/engine/dtype.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/strided_walk.h>

#include <cstring>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// Axes of size 1 gone, axes that continue each other merged.
StridedWalk<1> walk_of(int64_t const* strides, int64_t const* shape, int rank) {
  StridedWalk<1> w{.numel = 1};
  for (int a = 0; a < rank; ++a) {
    w.numel *= shape[a];
    if (shape[a] == 1) continue;
    if (w.rank > 0 && w.stride[0][w.rank - 1] == strides[a] * shape[a]) {
      w.shape[w.rank - 1] *= shape[a];
      w.stride[0][w.rank - 1] = strides[a];
    } else {
      w.shape[w.rank] = shape[a];
      w.stride[0][w.rank++] = strides[a];
    }
  }
  return w;
}

template <class E, bool gathering>
__global__ void move_kernel(StridedWalk<1> w, E const* from, E* to) {
  int64_t const i = this_element();
  if (i >= w.numel) return;
  if (gathering)
    to[i] = from[w.offset(i, 0)];
  else
    to[w.offset(i, 0)] = from[i];
}

template <class E>
__global__ void fill_kernel(E value, E* to, int64_t n) {
  int64_t const i = this_element();
  if (i < n) to[i] = value;
}

/// f(Type<E>) with E an unsigned integer of `size` bytes.
template <class F>
void by_size(int size, F const& f) {
  if (size == 1) f(Type<uint8_t>{});
  if (size == 2) f(Type<uint16_t>{});
  if (size == 4) f(Type<uint32_t>{});
  if (size == 8) f(Type<uint64_t>{});
}

template <bool gathering>
void move(void const* from, void* to, int64_t const* strides, int64_t const* shape, int rank, int element_size) {
  StridedWalk<1> const w = walk_of(strides, shape, rank);
  if (w.numel == 0) return;
  by_size(element_size, [&]<class E>(Type<E>) {
    launch(move_kernel<E, gathering>, "copy", blocks_of_one(w.numel), {element_threads}, 0, w,
           static_cast<E const*>(from), static_cast<E*>(to));
  });
}

void gather(void const* src, int64_t const* src_strides, void* dst, int64_t const* shape, int rank, int element_size) {
  move<true>(src, dst, src_strides, shape, rank, element_size);
}
void scatter(void const* src, void* dst, int64_t const* dst_strides, int64_t const* shape, int rank, int element_size) {
  move<false>(src, dst, dst_strides, shape, rank, element_size);
}

void fill(void const* value, void* dst, int64_t n, int element_size) {
  if (n == 0) return;
  by_size(element_size, [&]<class E>(Type<E>) {
    E element;
    std::memcpy(&element, value, sizeof element);
    launch(fill_kernel<E>, "fill", blocks_of_one(n), {element_threads}, 0, element, static_cast<E*>(dst), n);
  });
}

/// C++'s conversions, 16-bit floats through f32.
template <class To, class From>
__device__ To converted(From x) {
  if constexpr (std::is_same_v<To, bool>)
    return float(x) != 0.f || double(x) != 0.;
  else if constexpr (std::is_same_v<To, float16> || std::is_same_v<To, bfloat16>)
    return To(float(x));
  else if constexpr (std::is_same_v<From, float16> || std::is_same_v<From, bfloat16>)
    return To(float(x));
  else
    return To(x);
}

template <class To, class From>
__global__ void cast_kernel(From const* from, To* to, int64_t n) {
  int64_t const i = this_element();
  if (i < n) to[i] = converted<To>(from[i]);
}

void cast(void const* src, Dtype from, void* dst, Dtype to, int64_t n) {
  if (n == 0) return;
  dispatch(from, [&]<class From>(Type<From>) {
    dispatch(to, [&]<class To>(Type<To>) {
      launch(cast_kernel<To, From>, "to", blocks_of_one(n), {element_threads}, 0, static_cast<From const*>(src),
             static_cast<To*>(dst), n);
    });
  });
}

}  // namespace

CopyKernels const device_copy_kernels{gather, scatter, fill, nullptr, nullptr, cast};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
