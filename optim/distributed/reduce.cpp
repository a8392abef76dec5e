#include <heed/engine/half.h>
#include <heed/optim/distributed/reduce.h>

#include <algorithm>
#include <type_traits>

namespace heed::distributed {
namespace {

constexpr int64_t block = 2048;  // elements summed at a time: they stay in the first cache

/// What is added in: f32 for 16-bit types; for integers their unsigned kind, whose overflow wraps.
template <class T>
struct Wide {
  using type = T;
};
template <>
struct Wide<float16> {
  using type = float;
};
template <>
struct Wide<bfloat16> {
  using type = float;
};

template <class W>
W added(W a, W b) {
  if constexpr (std::is_same_v<W, bool>)
    return a || b;
  else if constexpr (std::is_integral_v<W>)
    return W(std::make_unsigned_t<W>(std::make_unsigned_t<W>(a) + std::make_unsigned_t<W>(b)));
  else
    return a + b;
}
template <class W>
W larger(W a, W b) {
  return b > a || b != b ? b : a;  // a NaN in `a` stays: every comparison with it is false
}
template <class W>
W smaller(W a, W b) {
  return b < a || b != b ? b : a;
}

template <class T, class Combine>
void combine(T* to, T const* const* parts, int count, int64_t n, bool divide, Combine f) {
  using W = typename Wide<T>::type;
  W sum[block];
  for (int64_t begin = 0; begin < n; begin += block) {
    int64_t const m = std::min(block, n - begin);
    for (int64_t i = 0; i < m; ++i) sum[i] = W(parts[0][begin + i]);
    for (int k = 1; k < count; ++k) {
      T const* const part = parts[k] + begin;
      for (int64_t i = 0; i < m; ++i) sum[i] = f(sum[i], W(part[i]));
    }
    if constexpr (std::is_floating_point_v<W>)
      if (divide)
        for (int64_t i = 0; i < m; ++i) sum[i] /= W(count);
    for (int64_t i = 0; i < m; ++i) to[begin + i] = T(sum[i]);
  }
}

}  // namespace

void reduce_in_order(Dtype dtype, Reduce reduction, void* to, void const* const* parts, int count, int64_t n) {
  dispatch(dtype, [&]<class T>(Type<T>) {
    using W = typename Wide<T>::type;
    auto* const out = static_cast<T*>(to);
    auto* const in = reinterpret_cast<T const* const*>(parts);
    switch (reduction) {
      case Reduce::max:
        return combine(out, in, count, n, false, [](W a, W b) { return larger(a, b); });
      case Reduce::min:
        return combine(out, in, count, n, false, [](W a, W b) { return smaller(a, b); });
      default:
        return combine(out, in, count, n, reduction == Reduce::mean, [](W a, W b) { return added(a, b); });
    }
  });
}

}  // namespace heed::distributed
