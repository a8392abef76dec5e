// Whole numbers on an accelerator. Memory bounds all of them but powers and common divisors.
#include <heed/engine/cuda/elements.h>
#include <heed/engine/cuda/whole.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

template <class F>
__device__ int64_t value_of(int64_t a, int64_t b) {
  if constexpr (whole::divides<F>)
    return b == 0 ? 0 : F::value(a, b);
  else
    return F{}.value(a, b);
}

/// One kernel with a branch that all threads take alike: a kernel for each formula would take ptxas ten seconds.
template <class... F>
__device__ int64_t value_of(RowList<F...>, int formula, int64_t a, int64_t b) {
  int64_t value = 0;
  int k = 0;
  ((k++ == formula ? void(value = value_of<F>(a, b)) : void()), ...);
  return value;
}

__global__ void whole_kernel(int formula, Broadcast b, Dtype from, void const* x, void const* y, Dtype to, void* z) {
  for_each_element(b.numel, [&](int64_t i) {
    int64_t at[2];
    b.offsets(i, at);
    store_whole(value_of(whole::Rows{}, formula, load_whole(x, from, at[0]), load_whole(y, from, at[1])), z, to, i);
  });
}
void binary(int formula, Broadcast const& b, Dtype from, void const* x, void const* y, Dtype to, void* z) {
  launch(whole_kernel, "whole numbers", blocks_for(b.numel), {element_threads}, 0, formula, b, from, x, y, to, z);
}

template <class T>
__global__ void range_kernel(T from, T step, T* y, int64_t n) {
  for_each_element(n, [&](int64_t i) { y[i] = from + T(i) * step; });
}
template <class T>
void range(T from, T step, T* y, int64_t n) {
  if (n > 0) launch(range_kernel<T>, "range", blocks_for(n), {element_threads}, 0, from, step, y, n);
}

}  // namespace

WholeKernels const device_whole_kernels{binary, range<int64_t>, range<double>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
