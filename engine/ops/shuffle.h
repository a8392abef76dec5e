// The elements of two registers in another order. For *.simd.cpp files only.
#pragma once

#include <heed/engine/lane.h>

#include <utility>

namespace heed {
inline namespace HEED_ISA_LEVEL {

/// Element i of the result is element Index::at(i) of a, then b.
template <class T, class Index>
[[gnu::always_inline]] inline Vec<T> shuffled(Vec<T> a, Vec<T> b, Index) {
  return [&]<size_t... i>(std::index_sequence<i...>) __attribute__((always_inline)) {
    return Vec<T>(Batch<T>(__builtin_shufflevector(a.v.data, b.v.data, Index::at(int(i))...)));
  }
  (std::make_index_sequence<size_t(Vec<T>::width)>{});
}

template <int W>
struct Even {
  static constexpr int at(int i) { return 2 * i; }
};
template <int W>
struct Odd {
  static constexpr int at(int i) { return 2 * i + 1; }
};
template <int W>
struct ZipLow {
  static constexpr int at(int i) { return i / 2 + i % 2 * W; }
};
template <int W>
struct ZipHigh {
  static constexpr int at(int i) { return i / 2 + i % 2 * W + W / 2; }
};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
