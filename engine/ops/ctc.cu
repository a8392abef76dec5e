// The sums over paths of connectionist temporal classification: a block has a sample, its threads the states, and steps
// follow each other. Each step waits for the one before, which bounds it.
#include <heed/engine/cuda/index_check.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/ops/device_tables.h>

#include <cmath>
#include <limits>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

constexpr unsigned threads = 256;

/// log(eᵃ + eᵇ); two equal infinities have no difference.
template <class T>
__device__ T log_add(T a, T b) {
  return a == b ? a + T(0.69314718055994530942) : (a > b ? a : b) + std::log1p(std::exp(-std::abs(a - b)));
}
template <class T>
__device__ T log_add(T a, T b, T c) {
  return log_add(log_add(a, b), c);
}

/// One sample of a batch.
struct Sample {
  int64_t n, states, steps, blank;
  int64_t const* target;
  IndexRange range;

  __device__ Sample(CtcBatch const& b, IndexRange const& range, int64_t n)
      : n(n),
        states(2 * b.lengths[n] + 1),
        steps(b.inputs[n]),
        blank(b.blank),
        target(b.targets + b.starts[n]),
        range(range) {}

  __device__ int64_t symbol(int64_t s) const { return s % 2 ? range.place(target[s / 2]) : blank; }
  /// Whether a path may go from state s − 2 to s: past a blank between different symbols.
  __device__ bool skips(int64_t s) const { return s >= 2 && s % 2 == 1 && symbol(s) != symbol(s - 2); }
};

template <class T>
__global__ void __launch_bounds__(threads, 1)
    forward_kernel(CtcBatch b, IndexRange range, T const* log_p, T* alpha, T* loss) {
  Sample const sample(b, range, blockIdx.x);
  T const none = -std::numeric_limits<T>::infinity();
  T* const sums = alpha + sample.n * b.steps * b.states;
  for (int64_t t = 0; t < sample.steps; ++t) {
    T const *const at = log_p + (t * b.samples + sample.n) * b.classes, *const before = sums + (t - 1) * b.states;
    for (int64_t s = threadIdx.x; s < sample.states; s += threads) {
      T const here = at[sample.symbol(s)];
      sums[t * b.states + s] =
          t == 0 ? (s < 2 ? here : none)
                 : here + log_add(before[s], s >= 1 ? before[s - 1] : none, sample.skips(s) ? before[s - 2] : none);
    }
    __syncthreads();
  }
  if (threadIdx.x != 0) return;
  T const* const last = sums + (sample.steps - 1) * b.states;
  loss[sample.n] = sample.steps > 0
                       ? -log_add(last[sample.states - 1], sample.states >= 2 ? last[sample.states - 2] : none)
                       : (sample.states == 1 ? T(0) : -none);
}

/// beta[s] = log Σ of the paths from state s at step t to the end, later steps counted; two of them take turns.
template <class T>
__global__ void __launch_bounds__(threads, 1)
    gamma_kernel(CtcBatch b, IndexRange range, T const* log_p, T const* alpha, T const* loss, T* beta, T* gamma) {
  Sample const sample(b, range, blockIdx.x);
  T const none = -std::numeric_limits<T>::infinity(), total = loss[sample.n];
  int64_t const first = sample.n * b.steps * b.states;
  T* const turns = beta + sample.n * 2 * b.states;
  for (int64_t t = sample.steps - 1; t >= 0; --t) {
    T const *const at = log_p + ((t + 1) * b.samples + sample.n) * b.classes, *const after =
                                                                                  turns + (t + 1) % 2 * b.states;
    T* const here = turns + t % 2 * b.states;
    for (int64_t s = threadIdx.x; s < sample.states; s += threads) {
      T sum = s >= sample.states - 2 ? T(0) : none;
      if (t + 1 < sample.steps)
        sum = log_add(after[s] + at[sample.symbol(s)],
                      s + 1 < sample.states ? after[s + 1] + at[sample.symbol(s + 1)] : none,
                      s + 2 < sample.states && sample.skips(s + 2) ? after[s + 2] + at[sample.symbol(s + 2)] : none);
      here[s] = sum;
      T const path = alpha[first + t * b.states + s] + sum;
      gamma[first + t * b.states + s] = path > none ? std::exp(path + total) : T(0);
    }
    __syncthreads();
  }
}

/// The first state of each symbol adds up what the later ones have, in order.
template <class T>
__global__ void gather_kernel(CtcBatch b, IndexRange range, T const* gamma, T const* g, T* dx) {
  int64_t const i = int64_t(blockIdx.x) * threads + threadIdx.x;
  int64_t const s = i % b.states, t = i / b.states % b.steps, n = i / b.states / b.steps;
  if (n >= b.samples) return;
  Sample const sample(b, range, n);
  if (t >= sample.steps || s >= sample.states || g[n] == 0) return;
  int64_t const c = sample.symbol(s);
  for (int64_t before = 0; before < s; ++before)
    if (sample.symbol(before) == c) return;
  T const* const at = gamma + (n * b.steps + t) * b.states;
  T sum = 0;
  for (int64_t later = s; later < sample.states; ++later)
    if (sample.symbol(later) == c) sum -= g[n] * at[later];
  dx[(t * b.samples + n) * b.classes + c] = sum;
}

IndexRange symbols(CtcBatch const& b) { return index_range("ctc_loss", 0, b.classes); }

template <class T>
void forward(CtcBatch const& b, T const* log_p, T* alpha, T* loss) {
  if (b.samples > 0)
    launch(forward_kernel<T>, "ctc_loss", in_a_row(b.samples), {threads}, 0, b, symbols(b), log_p, alpha, loss);
}
template <class T>
void backward(CtcBatch const& b, T const* log_p, T const* alpha, T const* loss, T const* g, T* beta, T* gamma, T* dx) {
  int64_t const all = b.samples * b.steps * b.states;
  if (all == 0) return;
  launch(gamma_kernel<T>, "ctc_loss", in_a_row(b.samples), {threads}, 0, b, symbols(b), log_p, alpha, loss, beta,
         gamma);
  launch(gather_kernel<T>, "ctc_loss", in_a_row((all + threads - 1) / threads), {threads}, 0, b, symbols(b),
         static_cast<T const*>(gamma), g, dx);
}

}  // namespace

CtcKernels const device_ctc_kernels{{{forward<float>, backward<float>}, {forward<double>, backward<double>}}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
