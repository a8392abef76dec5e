#include <heed/engine/ops/pool.h>

#include <type_traits>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

constexpr int64_t block = 64;  // windows at a time, in registers or the first-level cache

/// to[i] = from[i·stride]; the compiler shuffles for a stride that it knows.
template <class T>
void spread(T const* from, int64_t stride, T* to, int64_t n) {
  auto const run = [=](auto step) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * step];
  };
  if (stride == 1)
    run(std::integral_constant<int64_t, 1>{});
  else if (stride == 2)
    run(std::integral_constant<int64_t, 2>{});
  else
    run(stride);
}

template <class T>
void maxima(MaximaArgs<T> const& g) {
  using Place = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;  // as wide as T, so that one mask selects both
  for (int64_t r = 0; r < g.rows; ++r)
    for (int64_t i = 0; i < g.n; i += block) {
      int64_t const here = g.n - i < block ? g.n - i : block, from = g.first + r * g.x_row + i * g.stride;
      T best[block], next[block];
      Place best_tap[block];
      spread(g.x + from + g.tap[0], g.stride, best, here);
      for (int64_t j = 0; j < here; ++j) best_tap[j] = Place(g.tap[0]);
      for (int64_t t = 1; t < g.taps; ++t) {
        auto const tap = Place(g.tap[t]);
        spread(g.x + from + g.tap[t], g.stride, next, here);
        for (int64_t j = 0; j < here; ++j) {
          bool const take = (next[j] > best[j]) | (next[j] != next[j]);
          best[j] = take ? next[j] : best[j];
          best_tap[j] = take ? tap : best_tap[j];
        }
      }
      T* const y = g.y + r * g.y_row + i;
      int64_t* const index = g.index + r * g.y_row + i;
      for (int64_t j = 0; j < here; ++j) y[j] = best[j];
      for (int64_t j = 0; j < here; ++j) index[j] = from + j * g.stride + best_tap[j];
    }
}

template <class T>
constexpr PoolKernelsOf<T> table{maxima<T>};

}  // namespace

constinit PoolKernels const pool_kernels{table<float>, table<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
