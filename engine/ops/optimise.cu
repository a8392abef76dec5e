#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

template <class T>
struct Adamw {
  T* param;
  T const* grad;
  T *m, *v, *largest;  // largest: null but for AMSGrad
  T scale, decay, coupled, beta2, rest2, eps, root2, rate, weight;
  bool near;  // lerp counts from the nearer end, as in PyTorch
  /// Reads 16 and writes 12 bytes an element (f32); AMSGrad 20 and 16.
  __device__ void operator()(int64_t, int64_t k, int count) const {
    auto const at = [&](T const* p) { return load(p + k, 1, count, T(0)); };
    Pack<T> const p0 = at(param);
    Pack<T> g = map_pack([&](T a) { return a * scale; }, at(grad));
    if (coupled != 0) g = map_pack([&](T a, T p) { return a + coupled * p; }, g, p0);
    Pack<T> const m1 = map_pack([&](T a, T b) { return std::fma(weight, b - a, near ? a : b); }, at(m), g);
    Pack<T> const v1 = map_pack([&](T a, T b) { return a * beta2 + rest2 * b * b; }, at(v), g);
    Pack<T> most = v1;
    if (largest) {
      most = map_pack([&](T a, T b) { return a > b ? a : b; }, at(largest), v1);
      store(most, largest + k, count);
    }
    Pack<T> const p1 =
        map_pack([&](T p, T a, T b) { return p * decay + rate * a / (std::sqrt(b) / root2 + eps); }, p0, m1, most);
    store(m1, m + k, count);
    store(v1, v + k, count);
    store(p1, param + k, count);
  }
};

template <class T>
void adamw(T* param, T const* grad, T* m, T* v, T* largest, int64_t n, AdamwStep const& step) {
  bool const near = 1 - step.beta1 < 0.5;
  Adamw<T> const f{param,
                   grad,
                   m,
                   v,
                   largest,
                   T(step.grad_scale),
                   T(step.coupled ? 1 : 1 - step.lr * step.weight_decay),
                   T(step.coupled ? step.weight_decay : 0),
                   T(step.beta2),
                   T(1 - step.beta2),
                   T(step.eps),
                   T(std::sqrt(step.correction2)),
                   T(-(step.lr / step.correction1)),
                   near ? T(1 - step.beta1) : T(T(1 - step.beta1) - 1),
                   near};
  map_rows<T>("adamw", f, 1, n);
}

template <class T>
struct Adagrad {
  T* param;
  T const* grad;
  T* sum;
  T scale, decay, rate, initial, eps;
  /// Reads 12 and writes 8 bytes an element (f32).
  __device__ void operator()(int64_t, int64_t k, int count) const {
    auto const at = [&](T const* p) { return load(p + k, 1, count, T(0)); };
    Pack<T> const p = at(param);
    Pack<T> g = map_pack([&](T a) { return a * scale; }, at(grad));
    if (decay != 0) g = map_pack([&](T a, T b) { return a + decay * b; }, g, p);
    Pack<T> const s = map_pack([&](T a, T b) { return a + b * b; }, at(sum), g);
    store(s, sum + k, count);
    store(map_pack([&](T a, T b, T c) { return a + rate * b / (std::sqrt(c + initial) + eps); }, p, g, s), param + k,
          count);
  }
};

template <class T>
void adagrad(T* param, T const* grad, T* sum, int64_t n, AdagradStep const& step) {
  Adagrad<T> const f{param,           grad,       sum, T(step.grad_scale), T(step.weight_decay), T(-step.lr),
                     T(step.initial), T(step.eps)};
  map_rows<T>("adagrad", f, 1, n);
}

template <class T>
struct Sgd {
  T* param;
  T const* grad;
  T* buffer;
  T scale, decay, momentum, rest, rate;
  bool nesterov, first, moving, decaying;
  /// Reads 12 and writes 8 bytes an element (f32); without momentum 8 and 4.
  __device__ void operator()(int64_t, int64_t k, int count) const {
    Pack<T> const p = load(param + k, 1, count, T(0));
    Pack<T> g = map_pack([&](T a) { return a * scale; }, load(grad + k, 1, count, T(0)));
    if (decaying) g = map_pack([&](T a, T b) { return a + decay * b; }, g, p);
    if (moving) {
      Pack<T> b = g;
      if (!first) b = map_pack([&](T a, T c) { return a * momentum + rest * c; }, load(buffer + k, 1, count, T(0)), g);
      store(b, buffer + k, count);
      g = nesterov ? map_pack([&](T a, T c) { return a + momentum * c; }, g, b) : b;
    }
    store(map_pack([&](T a, T c) { return a + rate * c; }, p, g), param + k, count);
  }
};

template <class T>
void sgd(T* param, T const* grad, T* buffer, int64_t n, SgdStep const& step) {
  Sgd<T> const f{param,
                 grad,
                 buffer,
                 T(step.grad_scale),
                 T(step.weight_decay),
                 T(step.momentum),
                 T(1 - step.dampening),
                 T(-step.lr),
                 step.nesterov,
                 step.first,
                 step.momentum != 0,
                 step.weight_decay != 0};
  map_rows<T>("sgd", f, 1, n);
}

/// In double from the start, so that no square overflows. Reads 4 bytes an element (f32).
template <class T>
struct SquareSum {
  using Acc = double;
  static constexpr int pack = pack_size<T>;
  T const* x;
  double* y;
  __device__ double identity() const { return 0; }
  __device__ void add(double& acc, Run const& run) const {
    Pack<T> const p = load(x + run.at, 1, run.count, T(0));
#pragma unroll
    for (int i = 0; i < pack; ++i) acc += double(p.v[i]) * double(p.v[i]);
  }
  __device__ double join(double a, double b) const { return a + b; }
  __device__ void finish(double acc, int64_t) const { *y = acc; }
};

template <class T>
double sum_squares(T const* x, int64_t n) {
  DeviceScratch<double> const there(1);
  double here = 0;
  fold_axis("sum_squares", SquareSum<T>{x, there.data()}, 1, n, 1);
  check_device(rt::copy_to_host(&here, there.data(), sizeof here, current_stream()), "sum_squares");
  check_device(rt::synchronize(current_stream()), "sum_squares");
  return here;
}

template <class T>
constexpr OptimiseKernelsOf<T> table{adamw<T>, adagrad<T>, sgd<T>, sum_squares<T>};

}  // namespace

constinit OptimiseKernels const device_optimise_kernels{table<float>, table<double>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
