#include <heed/engine/ops/rows.h>
#include <heed/engine/ops/softmax.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

constexpr int64_t block = 8192;  // of a row that leaves the cache: each block is shifted by its own maximum

template <class T>
void softmax_row(T const* x, T* y, int64_t n) {
  Vec<T> const top = fold_row<AnyMax, T>(
      n, [](auto v) { return v; }, x);
  T const sum = map_sum_row<T>(
      n, y, [=](auto v) { return exp(v - top); }, x);
  Vec<T> const scale = 1 / sum;
  map_row<T>(
      n, y, [=](auto v) { return v * scale; }, y);
}

template <class T>
void softmax_long_row(T const* x, T* y, int64_t n, T* maxima, T* sums) {
  int64_t const blocks = (n + block - 1) / block;
  auto const size = [=](int64_t b) { return b + 1 < blocks ? block : n - b * block; };
  parallel_for(blocks, 2, [=](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      maxima[b] = fold_row<AnyMax, T>(
          size(b), [](auto v) { return v; }, x + b * block);
      Vec<T> const shift = shift_of(maxima[b]);
      sums[b] = map_sum_row<T>(
          size(b), y + b * block, [=](auto v) { return exp(v - shift); }, x + b * block);
    }
  });
  T top = -infinity<T>, sum = 0;
  for (int64_t b = 0; b < blocks; ++b) top = maxima[b] > top ? maxima[b] : top;
  for (int64_t b = 0; b < blocks; ++b) sum += sums[b] * std::exp(maxima[b] - top);
  parallel_for(blocks, 2, [=](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      Vec<T> const scale = std::exp(maxima[b] - top) / sum;
      map_row<T>(
          size(b), y + b * block, [=](auto v) { return v * scale; }, y + b * block);
    }
  });
}

template <class T>
void softmax(T const* x, int64_t x_stride, T* y, int64_t rows, int64_t n) {
  if (n * int64_t(sizeof(T)) > 256 * 1024) {
    int64_t const blocks = (n + block - 1) / block;
    Scratch<T> scratch(2 * blocks);
    for (int64_t r = 0; r < rows; ++r)
      softmax_long_row(x + r * x_stride, y + r * n, n, scratch.data(), scratch.data() + blocks);
    return;
  }
  parallel_for(rows, row_grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) softmax_row(x + r * x_stride, y + r * n, n);
  });
}

template <class T>
void log_softmax(T const* x, int64_t x_stride, T* y, int64_t rows, int64_t n) {
  parallel_for(rows, row_grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      ExpSum<T> const e = exp_sum_row(x + r * x_stride, n);
      Vec<T> const top = e.max, log_sum = shifted_log_sum(e);
      map_row<T>(
          n, y + r * n, [=](auto v) { return v - top - log_sum; }, x + r * x_stride);
    }
  });
}

template <class T>
void softmax_backward(T const* g, T const* y, T* dx, int64_t rows, int64_t n) {
  parallel_for(rows, row_grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t const at = r * n;
      Vec<T> const dot = fold_row<Add, T>(
          n, [](auto a, auto b) { return a * b; }, g + at, y + at);
      map_row<T>(
          n, dx + at, [=](auto a, auto b) { return b * (a - dot); }, g + at, y + at);
    }
  });
}

template <class T>
void log_softmax_backward(T const* g, T const* y, T* dx, int64_t rows, int64_t n) {
  parallel_for(rows, row_grain(n), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t const at = r * n;
      Vec<T> const sum = fold_row<Add, T>(
          n, [](auto a) { return a; }, g + at);
      map_row<T>(
          n, dx + at, [=](auto a, auto b) { return a - exp(b) * sum; }, g + at, y + at);
    }
  });
}

template <class T>
constexpr SoftmaxKernelsOf<T> table{softmax<T>, log_softmax<T>, softmax_backward<T>, log_softmax_backward<T>};

}  // namespace

constinit SoftmaxKernels const softmax_kernels{table<float>, table<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
