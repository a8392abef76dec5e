// The pointwise part of a step of recurrent layers: one thread an element of the state, all its gates. Each reads and
// writes its operands once: 4 bytes each (f32), 40 an element for an LSTM's step.
#include <heed/engine/cuda/lane.h>
#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// f(place of an element among the states [rows, n], row, element of the row)
template <class F>
__global__ void __launch_bounds__(block_threads) step_kernel(F f, int64_t n, int64_t numel) {
  int64_t const at = int64_t(blockIdx.x) * block_threads + int(threadIdx.x);
  if (at < numel) f(at, at / n, at % n);
}
template <class F>
void step(char const* name, F const& f, int64_t rows, int64_t n) {
  if (int64_t const numel = rows * n; numel > 0)
    launch(step_kernel<F>, name, in_a_row((numel + block_threads - 1) / block_threads), {block_threads}, 0, f, n,
           numel);
}

template <class T>
__device__ T sigma(T x) {
  return sigmoid(Lane<T>(x)).v;
}
template <class T>
__device__ T squashed(T x) {
  return tanh(Lane<T>(x)).v;
}

template <class T>
struct Simple {
  T const* sums;
  T* h;
  bool relu;
  __device__ void operator()(int64_t at, int64_t, int64_t) const {
    T const x = sums[at];
    h[at] = !relu ? squashed(x) : x < 0 ? T(0) : x;
  }
};
template <class T>
void simple(T const* sums, T* h, bool relu, int64_t rows, int64_t n) {
  step("rnn", Simple<T>{sums, h, relu}, rows, n);
}

template <class T>
struct SimpleBackward {
  T const *h, *g, *dh;
  T* dsums;
  bool relu;
  __device__ void operator()(int64_t at, int64_t, int64_t) const {
    T const y = h[at], d = g[at] + dh[at];
    dsums[at] = !relu ? d * (1 - y * y) : y > 0 ? d : T(0);
  }
};
template <class T>
void simple_backward(T const* h, T const* g, T const* dh, T* dsums, bool relu, int64_t rows, int64_t n) {
  step("rnn_backward", SimpleBackward<T>{h, g, dh, dsums, relu}, rows, n);
}

template <class T>
struct Lstm {
  T* gates;
  T const* before;
  T *c, *h;
  int64_t n;
  __device__ void operator()(int64_t at, int64_t row, int64_t j) const {
    T* const gate = gates + 4 * row * n + j;
    T const i = sigma(gate[0]), f = sigma(gate[n]), g = squashed(gate[2 * n]), o = sigma(gate[3 * n]);
    T const state = f * before[at] + i * g;
    gate[0] = i, gate[n] = f, gate[2 * n] = g, gate[3 * n] = o;
    c[at] = state;
    h[at] = o * squashed(state);
  }
};
template <class T>
void lstm(T* gates, T const* before, T* c, T* h, int64_t rows, int64_t n) {
  step("lstm", Lstm<T>{gates, before, c, h, n}, rows, n);
}

template <class T>
struct LstmBackward {
  T const *gates, *before, *c, *g, *dh;
  T *dc, *dsums;
  int64_t n;
  __device__ void operator()(int64_t at, int64_t row, int64_t j) const {
    T const* const gate = gates + 4 * row * n + j;
    T* const to = dsums + 4 * row * n + j;
    T const in = gate[0], f = gate[n], cell = gate[2 * n], o = gate[3 * n];
    T const y = squashed(c[at]), d = g[at] + dh[at], state = dc[at] + d * o * (1 - y * y);
    to[0] = state * cell * in * (1 - in);
    to[n] = state * before[at] * f * (1 - f);
    to[2 * n] = state * in * (1 - cell * cell);
    to[3 * n] = d * y * o * (1 - o);
    dc[at] = state * f;
  }
};
template <class T>
void lstm_backward(T const* gates, T const* before, T const* c, T const* g, T const* dh, T* dc, T* dsums, int64_t rows,
                   int64_t n) {
  step("lstm_backward", LstmBackward<T>{gates, before, c, g, dh, dc, dsums, n}, rows, n);
}

template <class T>
struct Gru {
  T const *x, *s, *before;
  T *gates, *h;
  int64_t n;
  __device__ void operator()(int64_t at, int64_t row, int64_t j) const {
    T const *const xs = x + 3 * row * n + j, *const ss = s + 3 * row * n + j;
    T* const gate = gates + 4 * row * n + j;
    T const r = sigma(xs[0] + ss[0]), z = sigma(xs[n] + ss[n]), inner = ss[2 * n];
    T const fresh = squashed(xs[2 * n] + r * inner);
    gate[0] = r, gate[n] = z, gate[2 * n] = fresh, gate[3 * n] = inner;
    h[at] = fresh + z * (before[at] - fresh);
  }
};
template <class T>
void gru(T const* x, T const* s, T const* before, T* gates, T* h, int64_t rows, int64_t n) {
  step("gru", Gru<T>{x, s, before, gates, h, n}, rows, n);
}

template <class T>
struct GruBackward {
  T const *gates, *before, *g;
  T *dh, *dx, *ds;
  int64_t n;
  __device__ void operator()(int64_t at, int64_t row, int64_t j) const {
    T const* const gate = gates + 4 * row * n + j;
    T *const xs = dx + 3 * row * n + j, *const ss = ds + 3 * row * n + j;
    T const r = gate[0], z = gate[n], fresh = gate[2 * n], inner = gate[3 * n], d = g[at] + dh[at];
    T const dn = d * (1 - z) * (1 - fresh * fresh), dr = dn * inner * r * (1 - r),
            dz = d * (before[at] - fresh) * z * (1 - z);
    xs[0] = ss[0] = dr;
    xs[n] = ss[n] = dz;
    xs[2 * n] = dn;
    ss[2 * n] = dn * r;
    dh[at] = d * z;
  }
};
template <class T>
void gru_backward(T const* gates, T const* before, T const* g, T* dh, T* dx, T* ds, int64_t rows, int64_t n) {
  step("gru_backward", GruBackward<T>{gates, before, g, dh, dx, ds, n}, rows, n);
}

template <class T>
constexpr RecurrentKernelsOf<T> table{simple<T>, simple_backward<T>, lstm<T>, lstm_backward<T>,
                                      gru<T>,    gru_backward<T>};

}  // namespace

constinit RecurrentKernels const device_recurrent_kernels{{table<float>, table<double>}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
