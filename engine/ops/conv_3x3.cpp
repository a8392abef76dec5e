#include <heed/engine/ops/conv_3x3.h>
#include <heed/engine/ops/reduce.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tensor.h>

#include <algorithm>

namespace heed {
namespace {

constexpr int64_t task_elements = 1 << 15;  // results worth a task of their own
constexpr int64_t tasks = 16;               // of the gradients, where there is work for so many

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t grain_of(int64_t elements) { return std::max(int64_t{1}, task_elements / std::max(int64_t{1}, elements)); }

}  // namespace

template <class T>
bool convolves_3x3(ConvShape const& s) {
  return s.is_3x3() && kernels<ConvKernels>().of<T>().correlate_3x3;
}

template <class T>
void convolve_3x3(ConvShape const& s, T const* x, T const* w, T const* bias, T* y) {
  auto const correlate = kernels<ConvKernels>().of<T>().correlate_3x3;
  parallel_for(s.batch * s.groups, grain_of(s.y_size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      correlate(s, x + i * s.x_size(), w + i % s.groups * 9, bias ? bias[i % s.groups] : T(0), y + i * s.y_size());
  });
}

template <class T>
void convolve_3x3_backward(ConvShape const& s, T const* x, T const* w, T const* g, T* dx, T* dw, T* dbias) {
  auto const& kernel = kernels<ConvKernels>().of<T>();
  auto const& total = kernels<ReduceKernels>().of<T>().sum;
  ConvShape const back = s.reversed();
  // A task takes some images, and where those are few some of the channels, plane after plane as they lie; the sums of
  // tasks over the same channels are added in order.
  int64_t const parts = std::clamp(s.batch, int64_t{1}, tasks), blocks = std::min(s.groups, ceil_div(tasks, parts));
  int64_t const images = ceil_div(s.batch, parts), channels = ceil_div(s.groups, blocks), positions = s.y_size();
  Tensor const memory({parts * s.groups * 10}, dtype_of<T>);
  auto* const sums = static_cast<T*>(memory.raw());  // nine of the weight, one of the bias
  std::fill_n(sums, memory.numel(), T(0));
  parallel_for(parts * blocks, grain_of(images * channels * positions), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      int64_t const part = task / blocks, first = task % blocks * channels;
      for (int64_t b = part * images; b < std::min(s.batch, (part + 1) * images); ++b)
        for (int64_t channel = first; channel < std::min(s.groups, first + channels); ++channel) {
          int64_t const plane = b * s.groups + channel;
          T const* const from = g + plane * positions;
          T* const sum = sums + (part * s.groups + channel) * 10;
          T turned[9], total_here;
          if (dx) {
            std::reverse_copy(w + channel * 9, w + channel * 9 + 9, turned);
            kernel.correlate_3x3(back, from, turned, T(0), dx + plane * s.x_size());
          }
          if (dw) kernel.correlate_3x3_weight(s, x + plane * s.x_size(), from, sum);
          if (!dbias) continue;
          total(from, &total_here, 1, positions, 1);
          sum[9] += total_here;
        }
    }
  });
  for (int64_t channel = 0; channel < s.groups; ++channel) {
    T* const all = sums + channel * 10;
    for (int64_t part = 1; part < parts; ++part)
      for (int e = 0; e < 10; ++e) all[e] += all[part * s.groups * 10 + e];
    if (dw) std::copy_n(all, 9, dw + channel * 9);
    if (dbias) dbias[channel] = all[9];
  }
}

#define HEED_CONVOLVE_3X3(T)                                                      \
  template bool convolves_3x3<T>(ConvShape const&);                               \
  template void convolve_3x3(ConvShape const&, T const*, T const*, T const*, T*); \
  template void convolve_3x3_backward(ConvShape const&, T const*, T const*, T const*, T*, T*, T*);
HEED_CONVOLVE_3X3(float)
HEED_CONVOLVE_3X3(double)
#undef HEED_CONVOLVE_3X3

}  // namespace heed
