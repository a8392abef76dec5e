#include <heed/engine/lane.h>
#include <heed/engine/ops/pool.h>

#include <utility>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

/// Elements 0, 2, … of a, then 1, 3, … of b.
template <class R, size_t... i>
R every_second(R a, R b, std::index_sequence<i...>) {
  constexpr int width = sizeof...(i);
  return __builtin_shufflevector(a, b, (2 * int(i) < width ? 2 * int(i) : 2 * int(i) + 1)...);
}

/// x[0], x[stride], …; nothing beyond the last one is read.
template <class T>
Vec<T> load_apart(T const* x, int64_t stride) {
  constexpr int width = Vec<T>::width;
  if (stride == 1) return Vec<T>::load(x);
  if (stride == 2)
    return Batch<T>(
        every_second(Vec<T>::load(x).v.data, Vec<T>::load(x + width - 1).v.data, std::make_index_sequence<width>{}));
  T lanes[width];
  for (int i = 0; i < width; ++i) lanes[i] = x[i * stride];
  return Vec<T>::load(lanes);
}

template <class T>
void maxima(MaximaArgs<T> const& g) {
  using V = Vec<T>;
  constexpr int width = V::width;
  for (int64_t r = 0; r < g.rows; ++r) {
    T const* const x = g.x + g.first + r * g.x_row;
    T* const y = g.y + r * g.y_row;
    int64_t* const index = g.index + r * g.y_row;
    auto const place = [&](int64_t i) { return g.first + r * g.x_row + i * g.stride; };
    for (int64_t i = 0; i < g.n && g.n >= width; i += width) {
      if (i + width > g.n) i = g.n - width;  // the last ones again, with those before them
      V best = load_apart(x + i * g.stride + g.tap[0], g.stride), best_tap = T(g.tap[0]);
      for (int64_t t = 1; t < g.taps; ++t) {
        V const next = load_apart(x + i * g.stride + g.tap[t], g.stride);
        auto const take = (next > best) | (next != next);
        best = select(take, next, best);
        best_tap = select(take, V(T(g.tap[t])), best_tap);
      }
      best.store(y + i);
      T taps[width];
      best_tap.store(taps);
      int64_t const from = place(i);
      for (int j = 0; j < width; ++j) index[i + j] = from + j * g.stride + int32_t(taps[j]);
    }
    for (int64_t i = 0; i < g.n && g.n < width; ++i) {
      int64_t tap = g.tap[0];
      for (int64_t t = 1; t < g.taps; ++t) {
        T const next = x[i * g.stride + g.tap[t]];
        if (next > x[i * g.stride + tap] || next != next) tap = g.tap[t];
      }
      y[i] = x[i * g.stride + tap];
      index[i] = place(i) + tap;
    }
  }
}

template <class T>
constexpr PoolKernelsOf<T> table{maxima<T>};

}  // namespace

constinit PoolKernels const pool_kernels{table<float>, table<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
