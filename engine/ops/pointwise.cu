// Pointwise kernels on an accelerator: the rows of pointwise.h, read over one number a thread.
#include <heed/engine/cuda/elements.h>
#include <heed/engine/cuda/lane.h>
#include <heed/engine/dtype.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/pointwise_device.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

template <class Op, class T>
__global__ void unary_forward_kernel(Op op, T const* x, T* y, int64_t n) {
  for_each_element(n, [&](int64_t i) { y[i] = op.value(Lane<T>(x[i])).v; });
}
template <class Op, class T>
void unary_forward(void const* row, T const* x, T* y, int64_t n) {
  launch(unary_forward_kernel<Op, T>, Op::name, blocks_for(n), {element_threads}, 0, *static_cast<Op const*>(row), x, y,
         n);
}

template <class Op, class T>
__global__ void unary_backward_kernel(Op op, T const* g, T const* x, T const* y, T* dx, int64_t n) {
  for_each_element(n, [&](int64_t i) {
    Lane<T> xs = 0, ys = 0;
    if constexpr (bool(Op::reads & reads_x)) xs = x[i];
    if constexpr (bool(Op::reads & reads_y)) ys = y[i];
    dx[i] = (Lane<T>(g[i]) * slope(op, xs, ys)).v;
  });
}
template <class Op, class T>
void unary_backward(void const* row, T const* g, T const* x, T const* y, T* dx, int64_t n) {
  launch(unary_backward_kernel<Op, T>, Op::name, blocks_for(n), {element_threads}, 0, *static_cast<Op const*>(row), g,
         x, y, dx, n);
}

template <class Op, class T>
__global__ void binary_forward_kernel(Op op, Broadcast b, T const* x, T const* y, T* z) {
  for_each_element(b.numel, [&](int64_t i) {
    int64_t at[2];
    b.offsets(i, at);
    z[i] = op.value(Lane<T>(x[at[0]]), Lane<T>(y[at[1]])).v;
  });
}
template <class Op, class T>
void binary_forward(void const* row, Broadcast const& b, T const* x, T const* y, T* z) {
  launch(binary_forward_kernel<Op, T>, Op::name, blocks_for(b.numel), {element_threads}, 0,
         *static_cast<Op const*>(row), b, x, y, z);
}

template <class Op, class T>
__global__ void binary_backward_kernel(Op op, Broadcast b, T const* g, T const* x, T const* y, T const* z, T* dx,
                                       T* dy) {
  for_each_element(b.numel, [&](int64_t i) {
    int64_t at[2];
    b.offsets(i, at);
    Lane<T> xs = 0, ys = 0, zs = 0;
    if constexpr (bool(Op::reads & reads_a)) xs = x[at[0]];
    if constexpr (bool(Op::reads & reads_b)) ys = y[at[1]];
    if constexpr (bool(Op::reads & reads_y)) zs = z[i];
    auto const by = slopes(op, xs, ys, zs);
    if (dx) dx[i] = (Lane<T>(g[i]) * by.da).v;
    if (dy) dy[i] = (Lane<T>(g[i]) * by.db).v;
  });
}
template <class Op, class T>
void binary_backward(void const* row, Broadcast const& b, T const* g, T const* x, T const* y, T const* z, T* dx,
                     T* dy) {
  launch(binary_backward_kernel<Op, T>, Op::name, blocks_for(b.numel), {element_threads}, 0,
         *static_cast<Op const*>(row), b, g, x, y, z, dx, dy);
}

template <class Op, class T>
__global__ void compare_kernel(Broadcast b, T const* x, T const* y, uint8_t* z) {
  for_each_element(b.numel, [&](int64_t i) {
    int64_t at[2];
    b.offsets(i, at);
    z[i] = Op{}.value(Lane<T>(x[at[0]]), Lane<T>(y[at[1]])).b;
  });
}
template <class Op, class T>
void compare_forward(Broadcast const& b, T const* x, T const* y, uint8_t* z) {
  launch(compare_kernel<Op, T>, Op::name, blocks_for(b.numel), {element_threads}, 0, b, x, y, z);
}

template <class E>
__global__ void where_kernel(Broadcast b, uint8_t const* mask, E const* x, E const* y, E* z) {
  for_each_element(b.numel, [&](int64_t i) {
    int64_t at[3];
    b.offsets(i, at);
    z[i] = mask[at[0]] ? x[at[1]] : y[at[2]];
  });
}
void where(Broadcast const& b, uint8_t const* mask, void const* x, void const* y, void* z, int element_size) {
  dispatch_size(size_t(element_size), [&]<class E>(Type<E>) {
    launch(where_kernel<E>, "where", blocks_for(b.numel), {element_threads}, 0, b, mask, static_cast<E const*>(x),
           static_cast<E const*>(y), static_cast<E*>(z));
  });
}

template <class T, class... U, class... B, class... C>
constexpr DevicePointwiseTable<T> table(RowList<U...>, RowList<B...>, RowList<C...>) {
  return {{{unary_forward<U, T>, unary_backward<U, T>}...},
          {{binary_forward<B, T>, binary_backward<B, T>}...},
          {{compare_forward<C, T>}...}};
}

}  // namespace

DevicePointwiseKernels const device_pointwise_kernels{
    {table<float>(UnaryRows{}, BinaryRows{}, CompareRows{}), table<double>(UnaryRows{}, BinaryRows{}, CompareRows{})},
    where};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
