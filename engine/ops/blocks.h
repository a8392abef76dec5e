// What pointwise kernels share: strided operands read block by block, vectors with masked tails.
// For *.simd.cpp files only.
#pragma once

#include <heed/engine/lane.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {

constexpr int64_t block = 256;

/// One strided operand, read block by block: in place where it is contiguous, else through a buffer.
template <class T>
struct Operand {
  T const* from;
  int64_t stride;
  alignas(64) T buffer[block];

  Operand(T const* from_, int64_t stride_, int64_t n) : from(from_), stride(stride_) {
    if (stride == 0 && from)
      for (int64_t i = 0; i < n && i < block; ++i) buffer[i] = *from;
  }
  T const* at(int64_t begin, int64_t count) {
    if (stride == 1 || !from) return from ? from + begin : from;
    if (stride == 0) return buffer;
    for (int64_t i = 0; i < count; ++i) buffer[i] = from[(begin + i) * stride];
    return buffer;
  }
};

/// body(begin, count) over [0, n): at once where every operand is contiguous, else in blocks.
template <class Body>
[[gnu::always_inline]] inline void in_blocks(bool contiguous, int64_t n, Body body) {
  int64_t const step = contiguous ? n : block;
  for (int64_t begin = 0; begin < n; begin += step) body(begin, n - begin < step ? n - begin : step);
}

/// body(position, Full or Partial count): the tail is a masked register, so that every element meets the same
/// instructions.
template <class T, class Body>
[[gnu::always_inline]] inline void in_vectors(int64_t n, Body body) {
  constexpr int width = Vec<T>::width;
  int64_t i = 0;
  for (; i + width <= n; i += width)
    body([i](T const* from) { return Vec<T>::load(from + i); }, [i](T* to, Vec<T> v) { v.store(to + i); });
  if (i < n) {
    int const count = int(n - i);
    body([i, count](T const* from) { return Vec<T>::load_first(from + i, count); },
         [i, count](T* to, Vec<T> v) { v.store_first(to + i, count); });
  }
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
