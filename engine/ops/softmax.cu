#include <heed/engine/cuda/exp_sum.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// Rows held in registers: reads 4 and writes 4 bytes an element (f32).
template <bool log, class T>
struct HeldSoftmax {
  T const* x;
  int64_t stride;
  T* y;
  int64_t n;
  template <class Team>
  __device__ void operator()(Team const& team, int64_t r) const {
    Pack<T> v[Team::packs];
    T top = -infinity<T>, sum = 0;
    team.each([&](int p, int64_t k, int count) { v[p] = load(x + r * stride + k, 1, count, -infinity<T>); });
    team.each([&](int p, int64_t, int) { top = AnyMax()(top, fold_pack(AnyMax(), v[p])); });
    top = team.fold(top, AnyMax());
    team.each([&](int p, int64_t, int) {
      Pack<T> const e = map_pack([=](T a) { return std::exp(a - top); }, v[p]);
      sum += fold_pack(Plus(), e);
      if constexpr (!log) v[p] = e;
    });
    sum = team.fold(sum, Plus());
    T const scale = log ? shifted_log_sum(ExpSum<T>{top, sum}) : 1 / sum;
    team.each([&](int p, int64_t k, int count) {
      store(map_pack([=](T a) { return log ? a - top - scale : a * scale; }, v[p]), y + r * n + k, count);
    });
  }
};

/// Longer rows, after ExpSum of each: reads 4 and writes 4 bytes an element (f32), 4 more read by the sums.
template <bool log, class T>
struct LongSoftmax {
  T const* x;
  int64_t stride;
  T* y;
  int64_t n;
  ExpSum<T> const* sums;
  __device__ void operator()(int64_t r, int64_t k, int count) const {
    ExpSum<T> const e = sums[r];
    T const scale = log ? shifted_log_sum(e) : 1 / e.sum + (e.max - e.max);  // NaN where the row holds +inf
    Pack<T> const p = load(x + r * stride + k, 1, count, T(0));
    store(map_pack([=](T a) { return log ? a - e.max - scale : std::exp(a - e.max) * scale; }, p), y + r * n + k,
          count);
  }
};

template <bool log, class T>
void softmax(T const* x, int64_t x_stride, T* y, int64_t rows, int64_t n) {
  char const* const name = log ? "log_softmax" : "softmax";
  if (n == 0 || held_rows<T>(name, HeldSoftmax<log, T>{x, x_stride, y, n}, rows, n)) return;
  DeviceScratch<ExpSum<T>> const sums(rows);
  fold_axis(name, RowExpSums<T>{{}, x, x_stride}, rows, n, 1, sums.data());
  map_rows<T>(name, LongSoftmax<log, T>{x, x_stride, y, n, sums.data()}, rows, n);
}

/// dx of one pack, `total` being Σ g·y, or of a log-softmax Σ g.
template <bool log, class T>
__device__ Pack<T> slope(Pack<T> const& g, Pack<T> const& y, T total) {
  return map_pack([=](T a, T b) { return log ? a - std::exp(b) * total : b * (a - total); }, g, y);
}
template <bool log, class T>
__device__ T term(Pack<T> const& g, Pack<T> const& y) {
  return fold_pack(Plus(), log ? g : map_pack([](T a, T b) { return a * b; }, g, y));
}

/// Rows held in registers: reads 8 and writes 4 bytes an element (f32).
template <bool log, class T>
struct HeldBackward {
  T const *g, *y;
  T* dx;
  int64_t n;
  template <class Team>
  __device__ void operator()(Team const& team, int64_t r) const {
    Pack<T> a[Team::packs], b[Team::packs];
    T sum = 0;
    team.each([&](int p, int64_t k, int count) {
      a[p] = load(g + r * n + k, 1, count, T(0));
      b[p] = load(y + r * n + k, 1, count, T(0));
    });
    team.each([&](int p, int64_t, int) { sum += term<log>(a[p], b[p]); });
    sum = team.fold(sum, Plus());
    team.each([&](int p, int64_t k, int count) { store(slope<log>(a[p], b[p], sum), dx + r * n + k, count); });
  }
};

/// Longer rows. The sums read 8 (log: 4) bytes an element (f32),
template <bool log, class T>
struct BackwardSums {
  using Acc = T;
  static constexpr int pack = pack_size<T>;
  T const *g, *y;
  __device__ T identity() const { return 0; }
  __device__ void add(T& acc, Run const& run) const {
    Pack<T> const a = load(g + run.at, 1, run.count, T(0));
    acc += term<log>(a, log ? a : load(y + run.at, 1, run.count, T(0)));
  }
  __device__ T join(T a, T b) const { return a + b; }
  __device__ void finish(T, int64_t) const {}
};
/// and the second pass reads 8 and writes 4.
template <bool log, class T>
struct LongBackward {
  T const *g, *y;
  T* dx;
  int64_t n;
  T const* sums;
  __device__ void operator()(int64_t r, int64_t k, int count) const {
    int64_t const at = r * n + k;
    store(slope<log>(load(g + at, 1, count, T(0)), load(y + at, 1, count, T(0)), sums[r]), dx + at, count);
  }
};

template <bool log, class T>
void backward(T const* g, T const* y, T* dx, int64_t rows, int64_t n) {
  char const* const name = log ? "log_softmax_backward" : "softmax_backward";
  if (n == 0 || held_rows<T>(name, HeldBackward<log, T>{g, y, dx, n}, rows, n)) return;
  DeviceScratch<T> const sums(rows);
  fold_axis(name, BackwardSums<log, T>{g, y}, rows, n, 1, sums.data());
  map_rows<T>(name, LongBackward<log, T>{g, y, dx, n, sums.data()}, rows, n);
}

template <class T>
constexpr SoftmaxKernelsOf<T> table{softmax<false, T>, softmax<true, T>, backward<false, T>, backward<true, T>};

}  // namespace

constinit SoftmaxKernels const device_softmax_kernels{table<float>, table<double>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
