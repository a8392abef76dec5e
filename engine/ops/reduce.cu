#include <heed/engine/cuda/exp_sum.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

struct Times {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a * b;
  }
  template <class T>
  static constexpr T identity = 1;
};
struct Add : Plus {
  template <class T>
  static constexpr T identity = 0;
};
/// NaN where either is NaN.
struct Max {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
  template <class T>
  static constexpr T identity = -infinity<T>;
};
struct Min {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
  template <class T>
  static constexpr T identity = infinity<T>;
};

/// Op over x, or over x². Reads 4 bytes an element (f32).
template <class Op, bool squared, class T>
struct Reduction {
  using Acc = T;
  static constexpr int pack = pack_size<T>;
  T const* x;
  T* y;
  __device__ T identity() const { return Op::template identity<T>; }
  __device__ void add(T& acc, Run const& run) const {
    Pack<T> p = load(x + run.at, run.step, run.count, identity());
    if constexpr (squared) p = map_pack([](T v) { return v * v; }, p);
    acc = Op()(acc, fold_pack(Op(), p));
  }
  __device__ T join(T a, T b) const { return Op()(a, b); }
  __device__ void finish(T acc, int64_t i) const { y[i] = acc; }
};

/// Reads 4 bytes an element (f32), 1.25 exponentials.
template <class T>
struct LogSumExp : ExpSums<T> {
  T const* x;
  T* y;
  __device__ void add(ExpSum<T>& acc, Run const& run) const {
    this->add_pack(acc, load(x + run.at, run.step, run.count, -infinity<T>));
  }
  __device__ void finish(ExpSum<T> const& acc, int64_t i) const { y[i] = acc.max + std::log(acc.sum); }
};

template <class T>
struct alignas(16) Found {  // moved by one access
  T value;
  int64_t at;
};
template <class T>
__device__ Found<T> shuffle_xor(Found<T> const& f, int d) {
  return {heed::shuffle_xor(f.value, d), heed::shuffle_xor(f.at, d)};
}

/// The first NaN, else the first of the extremes: an order without ties, so that any tree finds the same place.
/// Reads 4 bytes an element (f32).
template <class Op, class T>
struct Find {
  using Acc = Found<T>;
  static constexpr int pack = pack_size<T>;
  T const* x;
  int64_t* index;
  __device__ Acc identity() const { return {Op::template identity<T>, std::numeric_limits<int64_t>::max()}; }
  __device__ void add(Acc& acc, Run const& run) const {
    Pack<T> const p = load(x + run.at, run.step, run.count, Op::template identity<T>);
#pragma unroll
    for (int i = 0; i < pack; ++i) acc = join(acc, {p.v[i], run.k + i * run.stride});
  }
  __device__ Acc join(Acc const& a, Acc const& b) const {
    bool const a_nan = a.value != a.value, b_nan = b.value != b.value;
    bool const b_ahead = Op::template identity<T> < 0 ? b.value > a.value : b.value < a.value;
    bool const tie = a_nan ? b_nan : a.value == b.value;
    return (tie ? b.at < a.at : !a_nan && (b_nan || b_ahead)) ? b : a;
  }
  __device__ void finish(Acc const& acc, int64_t i) const { index[i] = acc.at; }
};

template <class Op, bool squared, class T>
void reduce(T const* x, T* y, int64_t outer, int64_t n, int64_t inner) {
  fold_axis("reduce", Reduction<Op, squared, T>{x, y}, outer, n, inner);
}
template <class T>
void logsumexp(T const* x, T* y, int64_t outer, int64_t n, int64_t inner) {
  fold_axis("logsumexp", LogSumExp<T>{{}, x, y}, outer, n, inner);
}
template <class Op, class T>
void find(T const* x, int64_t* index, int64_t outer, int64_t n, int64_t inner) {
  fold_axis("argmax", Find<Op, T>{x, index}, outer, n, inner);
}

template <class T>
constexpr ReduceKernelsOf<T> table{reduce<Add, false, T>, reduce<Times, false, T>,
                                   reduce<Max, false, T>, reduce<Min, false, T>,
                                   reduce<Add, true, T>,  logsumexp<T>,
                                   find<Max, T>,          find<Min, T>};

}  // namespace

constinit ReduceKernels const device_reduce_kernels{table<float>, table<double>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
