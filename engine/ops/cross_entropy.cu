#include <heed/engine/cuda/exp_sum.h>
#include <heed/engine/cuda/index_check.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// loss without smoothing, lse, and the rows' maxima where `tops` is given. Reads 4 bytes a logit (f32).
template <class T>
struct Forward : RowExpSums<T> {
  int64_t const* targets;
  int64_t ignore_index;
  T kept;  // 1 - smoothing
  T *loss, *lse;
  ExpSum<T>* sums;
  IndexRange classes;
  __device__ void finish(ExpSum<T> const& e, int64_t r) const {
    T const log_sum = shifted_log_sum(e);
    lse[r] = e.max + log_sum;
    // x - max first: lse itself may be large, and lse - x would cancel
    int64_t const target = targets[r];
    loss[r] =
        target == ignore_index ? T(0) : kept * (log_sum - (this->x[r * this->stride + classes.place(target)] - e.max));
    if (sums) sums[r] = e;
  }
};

/// loss += smoothing·(log_sum - mean(x - max)). Reads 4 bytes a logit (f32) again.
template <class T>
struct Smoothing {
  using Acc = T;
  static constexpr int pack = pack_size<T>;
  T const* x;
  int64_t n;
  int64_t const* targets;
  int64_t ignore_index;
  T smoothing;
  ExpSum<T> const* sums;
  T* loss;
  __device__ T identity() const { return 0; }
  __device__ void add(T& acc, Run const& run) const {
    T const top = sums[run.o].max;
    Pack<T> const p = load(x + run.at, 1, run.count, top);  // what lies beyond adds top - top, or NaN as the row is
    acc += fold_pack(Plus(), map_pack([=](T v) { return v - top; }, p));
  }
  __device__ T join(T a, T b) const { return a + b; }
  __device__ void finish(T sum, int64_t r) const {
    if (targets[r] != ignore_index) loss[r] += smoothing * (shifted_log_sum(sums[r]) - sum / T(n));
  }
};

template <class T>
void forward(T const* logits, int64_t const* targets, int64_t ignore_index, double smoothing, T* loss, T* lse,
             int64_t rows, int64_t n) {
  DeviceScratch<ExpSum<T>> const sums(smoothing != 0 ? rows : 0);
  fold_axis("cross_entropy",
            Forward<T>{{{}, logits, n},
                       targets,
                       ignore_index,
                       T(1 - smoothing),
                       loss,
                       lse,
                       sums.data(),
                       index_range("cross_entropy", 0, n)},
            rows, n, 1);
  if (smoothing != 0)
    fold_axis("cross_entropy", Smoothing<T>{logits, n, targets, ignore_index, T(smoothing), sums.data(), loss}, rows, n,
              1);
}

/// Reads 4 and writes 4 bytes a logit (f32).
template <class T>
struct Backward {
  T const* logits;
  int64_t const* targets;
  int64_t ignore_index;
  T kept, even;  // 1 - smoothing, smoothing/n
  T const *lse, *g;
  T* dlogits;
  int64_t n;
  __device__ void operator()(int64_t r, int64_t k, int count) const {
    int64_t const target = targets[r];
    Pack<T> p = load(logits + r * n + k, 1, count, T(0));
    T const shift = lse[r], scale = g[r];
#pragma unroll
    for (int i = 0; i < pack_size<T>; ++i) {
      T const slope = (std::exp(p.v[i] - shift) - even) * scale;
      p.v[i] = target == ignore_index ? T(0) : k + i == target ? slope - kept * scale : slope;
    }
    store(p, dlogits + r * n + k, count);
  }
};

template <class T>
void backward(T const* logits, int64_t const* targets, int64_t ignore_index, double smoothing, T const* lse, T const* g,
              T* dlogits, int64_t rows, int64_t n) {
  map_rows<T>(
      "cross_entropy_backward",
      Backward<T>{logits, targets, ignore_index, T(1 - smoothing), T(smoothing / double(n)), lse, g, dlogits, n}, rows,
      n);
}

/// Reads 8 bytes a row.
template <class T>
struct Counted {
  using Acc = int64_t;
  static constexpr int pack = pack_size<int64_t>;
  int64_t const* targets;
  int64_t ignore_index;
  T* to;
  __device__ int64_t identity() const { return 0; }
  __device__ void add(int64_t& acc, Run const& run) const {
    for (int i = 0; i < run.count; ++i) acc += targets[run.at + i] != ignore_index;
  }
  __device__ int64_t join(int64_t a, int64_t b) const { return a + b; }
  __device__ void finish(int64_t count, int64_t) const { *to = T(count); }
};

template <class T>
void count(int64_t const* targets, int64_t ignore_index, int64_t rows, T* counted) {
  fold_axis("cross_entropy", Counted<T>{targets, ignore_index, counted}, 1, rows, 1);
}

template <class T>
constexpr CrossEntropyKernelsOf<T> table{forward<T>, backward<T>, count<T>};

}  // namespace

constinit CrossEntropyKernels const device_cross_entropy_kernels{table<float>, table<double>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
