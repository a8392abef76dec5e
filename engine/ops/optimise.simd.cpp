#include <heed/engine/ops/optimise.h>
#include <heed/engine/ops/rows.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

/// f(load, store) for every register of [begin, end): load(p) and store(v, p) move the elements at p + j.
template <class T, class F>
void each_register(int64_t begin, int64_t end, F const& f) {
  constexpr int w = Vec<T>::width;
  int64_t j = begin;
  for (; j + w <= end; j += w)
    f([j](T const* p) { return Vec<T>::load(p + j); }, [j](Vec<T> v, T* p) { v.store(p + j); });
  if (int const left = int(end - j))
    f([=](T const* p) { return Vec<T>::load_first(p + j, left); }, [=](Vec<T> v, T* p) { v.store_first(p + j, left); });
}

template <class T>
void adamw(T* param, T const* grad, T* m, T* v, T* largest, int64_t n, AdamwStep const& step) {
  Vec<T> const scale = T(step.grad_scale), beta2 = T(step.beta2);
  Vec<T> const decay = T(step.coupled ? 1 : 1 - step.lr * step.weight_decay), coupled = T(step.weight_decay);
  bool const couples = step.coupled && step.weight_decay != 0;
  Vec<T> const rest2 = T(1 - step.beta2), eps = T(step.eps);
  Vec<T> const root2 = T(std::sqrt(step.correction2)), rate = T(-(step.lr / step.correction1));
  bool const near = 1 - step.beta1 < 0.5;  // lerp counts from the nearer end, as in PyTorch
  Vec<T> const weight = near ? T(1 - step.beta1) : T(T(1 - step.beta1) - 1);
  parallel_for(n, chunk_elements, [=](int64_t begin, int64_t end) {
    each_register<T>(begin, end, [=](auto load, auto store) {
      Vec<T> const p = load(param), m0 = load(m);
      Vec<T> g = load(grad) * scale;
      if (couples) g += coupled * p;
      Vec<T> const m1 = fma(weight, g - m0, near ? m0 : g);
      Vec<T> const v1 = load(v) * beta2 + rest2 * g * g;
      store(m1, m);
      store(v1, v);
      Vec<T> most = v1;
      if (largest) {
        most = max(load(largest), v1);
        store(most, largest);
      }
      store(p * decay + rate * m1 / (sqrt(most) / root2 + eps), param);
    });
  });
}

template <class T>
void adagrad(T* param, T const* grad, T* sum, int64_t n, AdagradStep const& step) {
  Vec<T> const scale = T(step.grad_scale), decay = T(step.weight_decay), rate = T(-step.lr);
  Vec<T> const initial = T(step.initial), eps = T(step.eps);
  bool const decaying = step.weight_decay != 0;
  parallel_for(n, chunk_elements, [=](int64_t begin, int64_t end) {
    each_register<T>(begin, end, [=](auto load, auto store) {
      Vec<T> const p = load(param);
      Vec<T> g = load(grad) * scale;
      if (decaying) g += decay * p;
      Vec<T> const s = load(sum) + g * g;
      store(s, sum);
      store(p + rate * g / (sqrt(s + initial) + eps), param);
    });
  });
}

template <class T>
void sgd(T* param, T const* grad, T* buffer, int64_t n, SgdStep const& step) {
  Vec<T> const scale = T(step.grad_scale), decay = T(step.weight_decay), momentum = T(step.momentum);
  Vec<T> const rest = T(1 - step.dampening), rate = T(-step.lr);
  bool const nesterov = step.nesterov, first = step.first, moving = step.momentum != 0,
             decaying = step.weight_decay != 0;
  parallel_for(n, chunk_elements, [=](int64_t begin, int64_t end) {
    each_register<T>(begin, end, [=](auto load, auto store) {
      Vec<T> const p = load(param);
      Vec<T> g = load(grad) * scale;
      if (decaying) g += decay * p;
      if (moving) {
        Vec<T> const b = first ? g : load(buffer) * momentum + rest * g;
        store(b, buffer);
        g = nesterov ? g + momentum * b : b;
      }
      store(p + rate * g, param);
    });
  });
}

template <class T>
double sum_squares(T const* x, int64_t n) {
  int64_t const chunks = (n + chunk_elements - 1) / chunk_elements;
  if (chunks == 0) return 0;
  Scratch<double> scratch(chunks);
  double* const parts = scratch.data();
  parallel_for(chunks, 1, [=](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      int64_t const at = c * chunk_elements, size = n - at < chunk_elements ? n - at : chunk_elements;
      parts[c] = fold_row<Add, T>(
          size, [](auto v) { return v * v; }, x + at);
    }
  });
  return fold_row<Add, double>(
      chunks, [](auto v) { return v; }, static_cast<double const*>(parts));
}

template <class T>
constexpr OptimiseKernelsOf<T> table{adamw<T>, adagrad<T>, sgd<T>, sum_squares<T>};

}  // namespace

constinit OptimiseKernels const optimise_kernels{table<float>, table<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
