#include <heed/engine/lane.h>
#include <heed/engine/ops/blocks.h>
#include <heed/engine/ops/pointwise.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

template <class Op, class T>
[[gnu::noinline]] void unary_forward_contiguous(Op op, T const* x, T* y, int64_t n) {
  in_vectors<T>(n, [&](auto load, auto store) { store(y, op.value(load(x))); });
}

template <class Op, class T>
void unary_forward(void const* row, T const* x, int64_t x_stride, T* y, int64_t n) {
  Op const op = *static_cast<Op const*>(row);
  if (x_stride == 1) return unary_forward_contiguous(op, x, y, n);
  Operand<T> in(x, x_stride, n);
  in_blocks(false, n,
            [&](int64_t begin, int64_t count) { unary_forward_contiguous(op, in.at(begin, count), y + begin, count); });
}

template <class Op, class T>
void unary_backward(void const* row, T const* g, T const* x, T const* y, T* dx, int64_t n) {
  Op const op = *static_cast<Op const*>(row);
  in_vectors<T>(n, [&](auto load, auto store) {
    Vec<T> xs = 0., ys = 0.;
    if constexpr (Op::reads & reads_x) xs = load(x);
    if constexpr (Op::reads & reads_y) ys = load(y);
    store(dx, load(g) * slope(op, xs, ys));
  });
}

template <class Op, class T>
[[gnu::noinline]] void binary_forward_contiguous(Op op, T const* a, T const* b, T* y, int64_t n) {
  in_vectors<T>(n, [&](auto load, auto store) { store(y, op.value(load(a), load(b))); });
}

template <class Op, class T>
void binary_forward(void const* row, T const* a, int64_t a_stride, T const* b, int64_t b_stride, T* y, int64_t n) {
  Op const op = *static_cast<Op const*>(row);
  if (a_stride == 1 && b_stride == 1) return binary_forward_contiguous(op, a, b, y, n);
  Operand<T> as(a, a_stride, n), bs(b, b_stride, n);
  in_blocks(false, n, [&](int64_t begin, int64_t count) {
    binary_forward_contiguous(op, as.at(begin, count), bs.at(begin, count), y + begin, count);
  });
}

template <class Op, class T>
void binary_backward(void const* row, T const* g, T const* a, int64_t a_stride, T const* b, int64_t b_stride,
                     T const* y, T* da, T* db, int64_t n) {
  Op const op = *static_cast<Op const*>(row);
  Operand<T> as(Op::reads & reads_a ? a : nullptr, a_stride, n), bs(Op::reads & reads_b ? b : nullptr, b_stride, n);
  bool const contiguous = (!as.from || a_stride == 1) && (!bs.from || b_stride == 1);
  in_blocks(contiguous, n, [&](int64_t begin, int64_t count) {
    T const *a_here = as.at(begin, count), *b_here = bs.at(begin, count);
    in_vectors<T>(count, [&](auto load, auto store) {
      Vec<T> av = 0., bv = 0., yv = 0.;
      if constexpr (Op::reads & reads_a) av = load(a_here);
      if constexpr (Op::reads & reads_b) bv = load(b_here);
      if constexpr (Op::reads & reads_y) yv = load(y + begin);
      auto const [by_a, by_b] = slopes(op, av, bv, yv);
      Vec<T> const gv = load(g + begin);
      if (da) store(da + begin, gv * by_a);
      if (db) store(db + begin, gv * by_b);
    });
  });
}

template <class Op, class T>
void compare_forward(void const*, T const* a, int64_t a_stride, T const* b, int64_t b_stride, uint8_t* y, int64_t n) {
  Operand<T> as(a, a_stride, n), bs(b, b_stride, n);
  in_blocks(a_stride == 1 && b_stride == 1, n, [&](int64_t begin, int64_t count) {
    T const *a_here = as.at(begin, count), *b_here = bs.at(begin, count);
    uint8_t* const to = y + begin;
    for (int64_t i = 0; i < count; ++i) to[i] = Op{}.value(Lane<T>(a_here[i]), Lane<T>(b_here[i])).b;
  });
}

template <class T>
void where(uint8_t const* mask, int64_t mask_stride, T const* a, int64_t a_stride, T const* b, int64_t b_stride, T* y,
           int64_t n) {
  Operand<uint8_t> ms(mask, mask_stride, n);
  Operand<T> as(a, a_stride, n), bs(b, b_stride, n);
  in_blocks(mask_stride == 1 && a_stride == 1 && b_stride == 1, n, [&](int64_t begin, int64_t count) {
    uint8_t const* const m_here = ms.at(begin, count);
    T const *a_here = as.at(begin, count), *b_here = bs.at(begin, count);
    T* const to = y + begin;
    for (int64_t i = 0; i < count; ++i) {
      T const from_a = a_here[i], from_b = b_here[i];
      to[i] = m_here[i] ? from_a : from_b;
    }
  });
}

template <class T, class... U, class... B, class... C>
constexpr PointwiseTable<T> table(RowList<U...>, RowList<B...>, RowList<C...>) {
  return {{{unary_forward<U, T>, unary_backward<U, T>}...},
          {{binary_forward<B, T>, binary_backward<B, T>}...},
          {{compare_forward<C, T>}...},
          where<T>};
}

}  // namespace

constinit PointwiseKernels const pointwise_kernels{table<float>(UnaryRows{}, BinaryRows{}, CompareRows{}),
                                                   table<double>(UnaryRows{}, BinaryRows{}, CompareRows{})};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
