#include <heed/engine/ops/cross_entropy.h>
#include <heed/engine/ops/rows.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

template <class T>
void forward(T const* logits, int64_t const* targets, int64_t ignore_index, double smoothing, T* loss, T* lse,
             int64_t rows, int64_t n) {
  parallel_for(rows, row_grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T const* const x = logits + r * n;
      ExpSum<T> const e = exp_sum_row(x, n);
      T const log_sum = shifted_log_sum(e);
      lse[r] = e.max + log_sum;
      loss[r] = 0;
      if (targets[r] == ignore_index) continue;
      // x - max first: lse itself may be large, and lse - x would cancel
      loss[r] = T(1 - smoothing) * (log_sum - (x[targets[r]] - e.max));
      if (smoothing != 0) {
        Vec<T> const top = e.max;
        T const sum = fold_row<Add, T>(
            n, [=](auto v) { return v - top; }, x);
        loss[r] += T(smoothing) * (log_sum - sum / T(n));
      }
    }
  });
}

template <class T>
void backward(T const* logits, int64_t const* targets, int64_t ignore_index, double smoothing, T const* lse, T const* g,
              T* dlogits, int64_t rows, int64_t n) {
  parallel_for(rows, row_grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T* const dx = dlogits + r * n;
      if (targets[r] == ignore_index) {
        for (int64_t j = 0; j < n; ++j) dx[j] = 0;
        continue;
      }
      Vec<T> const shift = lse[r], scale = g[r];
      if (smoothing == 0) {
        map_row<T>(
            n, dx, [=](auto v) { return exp(v - shift) * scale; }, logits + r * n);
      } else {
        Vec<T> const even = T(smoothing / double(n));
        map_row<T>(
            n, dx, [=](auto v) { return (exp(v - shift) - even) * scale; }, logits + r * n);
      }
      dx[targets[r]] -= T(1 - smoothing) * g[r];
    }
  });
}

template <class T>
void count(int64_t const* targets, int64_t ignore_index, int64_t rows, T* counted) {
  int64_t n = 0;
  for (int64_t r = 0; r < rows; ++r) n += targets[r] != ignore_index;
  *counted = T(n);
}

template <class T>
constexpr CrossEntropyKernelsOf<T> table{forward<T>, backward<T>, count<T>};

}  // namespace

constinit CrossEntropyKernels const cross_entropy_kernels{table<float>, table<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
