// The driver of everything pointwise: broadcast operands walked as rows, in parallel, 16-bit storage widened on the
// way.
#pragma once

#include <heed/engine/backend.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/ops/integer.h>
#include <heed/engine/ops/strided_walk.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tensor.h>

#include <algorithm>
#include <array>
#include <span>
#include <type_traits>

namespace heed {

constexpr int64_t pointwise_grain = 32768;  // elements a chunk: about 10 µs of the cheapest formula

/// What Rows calls for each piece: (offsets of the operands, offset of the contiguous output, elements). Erased, so
/// that an operation adds no more code than its own loop.
class RowVisitor {
 public:
  template <class Run>
  RowVisitor(Run const& run)
      : run_(&run), call_([](void const* f, int64_t const* offsets, int64_t first, int64_t n) {
          (*static_cast<Run const*>(f))(offsets, first, n);
        }) {}
  void operator()(int64_t const* offsets, int64_t first, int64_t n) const { call_(run_, offsets, first, n); }

 private:
  void const* run_;
  void (*call_)(void const*, int64_t const*, int64_t, int64_t);
};

/// A broadcast of up to `capacity` operands as rows: a kernel runs along the innermost axis with one stride an operand,
/// the outer axes, joined where every operand steps evenly, are walked.
template <int capacity>
struct Rows {
  Shape shape;
  Strides strides[capacity];
  int count;

  [[gnu::noinline]] Rows(Shape const& full, std::span<Tensor const* const> operands) : count(int(operands.size())) {
    Strides all[capacity];
    for (int k = 0; k < count; ++k)
      all[k] = operands[k] ? broadcast_strides(operands[k]->shape(), operands[k]->strides(), full)
                           : Dims::filled(full.rank(), 0);
    for (int axis = full.rank() - 1; axis >= 0; --axis) {
      if (full[axis] == 1) continue;
      bool joins = shape.rank() > 0;
      for (int k = 0; joins && k < count; ++k) joins = all[k][axis] == strides[k][0] * shape[0];
      if (joins) {
        shape[0] *= full[axis];
        continue;
      }
      shape.insert(0, full[axis]);
      for (int k = 0; k < count; ++k) strides[k].insert(0, all[k][axis]);
    }
    if (shape.rank() == 0) {
      shape.push_back(1);
      for (int k = 0; k < count; ++k) strides[k].push_back(0);
    }
  }

  /// Visits pieces that make up the whole.
  [[gnu::noinline]] void for_each(RowVisitor run) const {
    int const last = shape.rank() - 1;
    int64_t const inner = shape[last];
    int64_t outer = 1;
    for (int axis = 0; axis < last; ++axis) outer *= shape[axis];
    if (inner == 0 || outer == 0) return;
    if (outer == 1) {
      parallel_for(inner, pointwise_grain, [&](int64_t begin, int64_t end) {
        int64_t offsets[capacity];
        for (int k = 0; k < count; ++k) offsets[k] = begin * strides[k][last];
        run(offsets, begin, end - begin);
      });
      return;
    }
    parallel_for(outer, std::max(pointwise_grain / inner, int64_t{1}), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t offsets[capacity] = {};
        int64_t rest = row;
        for (int axis = last - 1; axis >= 0; --axis) {
          int64_t const index = rest % shape[axis];
          rest /= shape[axis];
          for (int k = 0; k < count; ++k) offsets[k] += index * strides[k][axis];
        }
        run(offsets, row * inner, inner);
      }
    });
  }
  int64_t stride(int operand) const { return strides[operand].back(); }
};

/// The same broadcast for an accelerator, whose kernel walks all of it.
template <int capacity>
StridedWalk<capacity> walk_of(Shape const& shape, std::span<Tensor const* const> operands) {
  Rows<capacity> const rows(shape, operands);
  StridedWalk<capacity> walk{.rank = rows.shape.rank(), .numel = numel(shape)};
  for (int axis = 0; axis < walk.rank; ++axis) {
    walk.shape[axis] = rows.shape[axis];
    for (int k = 0; k < rows.count; ++k) walk.stride[k][axis] = rows.strides[k][axis];
  }
  return walk;
}

inline Device where_to_run(char const* op, Tensor const& a, Tensor const& b) {
  return a.device().is_cpu() && b.device().is_cpu() ? cpu : common_device(op, {&a, &b});
}

inline Tensor operand(Tensor const& x, Dtype dtype, Device device) {
  Tensor y = x.to(dtype);
  if (!device.is_cpu()) y = y.to(device);
  return y;
}

/// What the driver of integers knows of a formula of whole::Rows: its place there, whether it compares, and its loop,
/// which takes elements of the operands, their strides and those of the result.
struct WholeFormula {
  using Loop = void (*)(void const* a, int64_t a_step, void const* b, int64_t b_step, void* y, int64_t n);
  int index;
  bool compares;
  Loop (*loop)(char const* op, Dtype dtype);
};
Tensor integers(WholeFormula const& formula, char const* op, Tensor const& left, Tensor const& right, Dtype dtype);

/// y = F(a, b) of integers or bools, both taken as `dtype`: a formula of whole::Rows.
template <class F>
Tensor integers(char const* op, Tensor const& left, Tensor const& right, Dtype dtype) {
  static constexpr WholeFormula formula{whole::Rows::index_of<F>, whole::compares<F>, [](char const* name, Dtype type) {
                                          WholeFormula::Loop loop = nullptr;
                                          dispatch_integer(name, type, [&]<class T>(Type<T>) {
                                            loop = [](void const* a, int64_t a_step, void const* b, int64_t b_step,
                                                      void* y, int64_t n) {
                                              using Out = std::conditional_t<whole::compares<F>, bool, T>;
                                              auto const *as = static_cast<T const*>(a), *bs = static_cast<T const*>(b);
                                              auto* const ys = static_cast<Out*>(y);
                                              for (int64_t i = 0; i < n; ++i)
                                                ys[i] = Out(F{}.value(as[i * a_step], bs[i * b_step]));
                                            };
                                          });
                                          return loop;
                                        }};
  return integers(formula, op, left, right, dtype);
}

/// kernel(operands, strides, outputs, n) for float and double, erased likewise.
class ElementwiseKernel {
 public:
  template <class Kernel>
  ElementwiseKernel(Kernel const& kernel) : kernel_(&kernel), f32_(call<Kernel, float>), f64_(call<Kernel, double>) {}
  void operator()(float const* const* in, int64_t const* strides, float* const* out, int64_t n) const {
    f32_(kernel_, in, strides, out, n);
  }
  void operator()(double const* const* in, int64_t const* strides, double* const* out, int64_t n) const {
    f64_(kernel_, in, strides, out, n);
  }

 private:
  template <class Kernel, class T>
  static void call(void const* kernel, T const* const* in, int64_t const* strides, T* const* out, int64_t n) {
    (*static_cast<Kernel const*>(kernel))(in, strides, out, n);
  }
  void const* kernel_;
  void (*f32_)(void const*, float const* const*, int64_t const*, float* const*, int64_t);
  void (*f64_)(void const*, double const* const*, int64_t const*, double* const*, int64_t);
};

/// kernel(operands, strides, outputs, n) in float or double over every piece of the broadcast to `shape`. Operands and
/// outputs are of `dtype`, outputs contiguous; f16 and bf16 pass through blocks of f32. What is absent (null) stays
/// null.
template <int operands, int outputs>
[[gnu::noinline]] void elementwise(char const* op, Shape const& shape, Dtype dtype, std::span<Tensor const* const> in,
                                   std::span<Tensor const* const> out, ElementwiseKernel kernel) {
  Observed const watch({.op = op, .inputs = in, .outputs = out});
  size_t const element = size_of(dtype);
  int const n_in = int(in.size()), n_out = int(out.size());
  auto const base = [](Tensor const* t) { return t ? static_cast<std::byte*>(t->raw()) : nullptr; };
  std::byte* from[operands];
  std::byte* to[outputs];
  for (int k = 0; k < n_in; ++k) from[k] = base(in[k]);
  for (int k = 0; k < n_out; ++k) to[k] = base(out[k]);
  auto const piece = [&](int64_t const* offsets, int64_t const* strides, int64_t first, int64_t n) {
    if (is_half(dtype)) {
      constexpr int64_t block = 512;
      alignas(64) float wide[operands + outputs][block];
      auto const& copy = kernels<CopyKernels>();
      for (int64_t begin = 0; begin < n; begin += block) {
        int64_t const here = std::min(block, n - begin);
        float const* xs[operands] = {};
        float* ys[outputs] = {};
        int64_t ones[operands];
        for (int k = 0; k < n_in; ++k) {
          ones[k] = 1;
          xs[k] = from[k] ? wide[k] : nullptr;
          if (from[k])
            copy.widen(from[k] + size_t(offsets[k] + begin * strides[k]) * element, strides[k], dtype, wide[k], here);
        }
        for (int k = 0; k < n_out; ++k) ys[k] = to[k] ? wide[n_in + k] : nullptr;
        kernel(xs, ones, ys, here);
        for (int k = 0; k < n_out; ++k)
          if (to[k]) copy.narrow(ys[k], to[k] + size_t(first + begin) * element, dtype, here);
      }
      return;
    }
    dispatch_floating(op, dtype, [&]<class T>(Type<T>) {
      T const* xs[operands] = {};
      T* ys[outputs] = {};
      for (int k = 0; k < n_in; ++k) xs[k] = from[k] ? reinterpret_cast<T const*>(from[k]) + offsets[k] : nullptr;
      for (int k = 0; k < n_out; ++k) ys[k] = to[k] ? reinterpret_cast<T*>(to[k]) + first : nullptr;
      kernel(xs, strides, ys, n);
    });
  };
  bool aligned = true;
  for (int k = 0; k < n_in; ++k) aligned &= !in[k] || (in[k]->is_contiguous() && in[k]->shape() == shape);
  if (aligned) {
    parallel_for(numel(shape), pointwise_grain, [&](int64_t begin, int64_t end) {
      int64_t offsets[operands], ones[operands];
      for (int k = 0; k < n_in; ++k) offsets[k] = begin, ones[k] = 1;
      piece(offsets, ones, begin, end - begin);
    });
    return;
  }
  Rows<operands> const rows(shape, in);
  int64_t strides[operands];
  for (int k = 0; k < n_in; ++k) strides[k] = rows.stride(k);
  rows.for_each([&](int64_t const* offsets, int64_t first, int64_t n) { piece(offsets, strides, first, n); });
}

}  // namespace heed
