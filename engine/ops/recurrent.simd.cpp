#include <heed/engine/ops/recurrent.h>
#include <heed/engine/ops/rows.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

template <class T>
Vec<T> sigma(Vec<T> x) {
  return 1. / (1. + exp(-x));
}

/// f(row, j, load, store) for every register of every row, the last of a row in part.
template <class T, class F>
void each_register(int64_t rows, int64_t n, F const& f) {
  constexpr int w = Vec<T>::width;
  parallel_for(rows, row_grain(4 * n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t j = 0;
      for (; j + w <= n; j += w)
        f(
            r, j, [](T const* p) { return Vec<T>::load(p); }, [](T* p, Vec<T> v) { v.store(p); });
      if (int const left = int(n - j))
        f(
            r, j, [left](T const* p) { return Vec<T>::load_first(p, left); },
            [left](T* p, Vec<T> v) { v.store_first(p, left); });
    }
  });
}

template <class T>
void simple(T const* sums, T* h, bool relu, int64_t rows, int64_t n) {
  each_register<T>(
      rows, n, [=](int64_t r, int64_t j, auto load, auto store) __attribute__((always_inline)) {
        Vec<T> const x = load(sums + r * n + j);
        store(h + r * n + j, relu ? max(Vec<T>(0), x) : tanh(x));
      });
}

template <class T>
void simple_backward(T const* h, T const* g, T const* dh, T* dsums, bool relu, int64_t rows, int64_t n) {
  each_register<T>(
      rows, n, [=](int64_t r, int64_t j, auto load, auto store) __attribute__((always_inline)) {
        int64_t const at = r * n + j;
        Vec<T> const y = load(h + at), d = load(g + at) + load(dh + at);
        store(dsums + at, relu ? select(y > Vec<T>(0), d, Vec<T>(0)) : d * (1. - y * y));
      });
}

template <class T>
void lstm(T* gates, T const* before, T* c, T* h, int64_t rows, int64_t n) {
  each_register<T>(
      rows, n, [=](int64_t r, int64_t j, auto load, auto store) __attribute__((always_inline)) {
        T* const gate = gates + 4 * r * n + j;
        int64_t const at = r * n + j;
        Vec<T> const i = sigma<T>(load(gate)), f = sigma<T>(load(gate + n)), g = tanh(load(gate + 2 * n)),
                     o = sigma<T>(load(gate + 3 * n));
        Vec<T> const state = f * load(before + at) + i * g;
        store(gate, i);
        store(gate + n, f);
        store(gate + 2 * n, g);
        store(gate + 3 * n, o);
        store(c + at, state);
        store(h + at, o * tanh(state));
      });
}

template <class T>
void lstm_backward(T const* gates, T const* before, T const* c, T const* g, T const* dh, T* dc, T* dsums, int64_t rows,
                   int64_t n) {
  each_register<T>(
      rows, n, [=](int64_t r, int64_t j, auto load, auto store) __attribute__((always_inline)) {
        T const* const gate = gates + 4 * r * n + j;
        T* const out = dsums + 4 * r * n + j;
        int64_t const at = r * n + j;
        Vec<T> const in = load(gate), f = load(gate + n), cell = load(gate + 2 * n), o = load(gate + 3 * n);
        Vec<T> const squashed = tanh(load(c + at)), d = load(g + at) + load(dh + at);
        Vec<T> const state = load(dc + at) + d * o * (1. - squashed * squashed);
        store(out, state * cell * in * (1. - in));
        store(out + n, state * load(before + at) * f * (1. - f));
        store(out + 2 * n, state * in * (1. - cell * cell));
        store(out + 3 * n, d * squashed * o * (1. - o));
        store(dc + at, state * f);
      });
}

template <class T>
void gru(T const* x, T const* s, T const* before, T* gates, T* h, int64_t rows, int64_t n) {
  each_register<T>(
      rows, n, [=](int64_t row, int64_t j, auto load, auto store) __attribute__((always_inline)) {
        T const* const xs = x + 3 * row * n + j;
        T const* const ss = s + 3 * row * n + j;
        T* const gate = gates + 4 * row * n + j;
        int64_t const at = row * n + j;
        Vec<T> const r = sigma<T>(load(xs) + load(ss)), z = sigma<T>(load(xs + n) + load(ss + n)),
                     inner = load(ss + 2 * n);
        Vec<T> const fresh = tanh(load(xs + 2 * n) + r * inner);
        store(gate, r);
        store(gate + n, z);
        store(gate + 2 * n, fresh);
        store(gate + 3 * n, inner);
        store(h + at, fresh + z * (load(before + at) - fresh));
      });
}

template <class T>
void gru_backward(T const* gates, T const* before, T const* g, T* dh, T* dx, T* ds, int64_t rows, int64_t n) {
  each_register<T>(
      rows, n, [=](int64_t row, int64_t j, auto load, auto store) __attribute__((always_inline)) {
        T const* const gate = gates + 4 * row * n + j;
        T* const xs = dx + 3 * row * n + j;
        T* const ss = ds + 3 * row * n + j;
        int64_t const at = row * n + j;
        Vec<T> const r = load(gate), z = load(gate + n), fresh = load(gate + 2 * n), inner = load(gate + 3 * n);
        Vec<T> const d = load(g + at) + load(dh + at);
        Vec<T> const dn = d * (1. - z) * (1. - fresh * fresh);
        Vec<T> const dr = dn * inner * r * (1. - r), dz = d * (load(before + at) - fresh) * z * (1. - z);
        store(xs, dr);
        store(ss, dr);
        store(xs + n, dz);
        store(ss + n, dz);
        store(xs + 2 * n, dn);
        store(ss + 2 * n, dn * r);
        store(dh + at, d * z);
      });
}

template <class T>
constexpr RecurrentKernelsOf<T> table{simple<T>, simple_backward<T>, lstm<T>, lstm_backward<T>,
                                      gru<T>,    gru_backward<T>};

}  // namespace

constinit RecurrentKernels const recurrent_kernels{table<float>, table<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
