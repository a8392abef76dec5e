// How a factorisation of one matrix runs over a batch.
#pragma once

#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tensor.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

namespace heed {

/// f(i) for every matrix of the batch; `work` is about the number of operations for one.
template <class F>
void for_each_matrix(int64_t count, double work, F f) {
  parallel_for(count, std::max<int64_t>(1, int64_t(30000 / (work + 1))), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

/// The same where f returns 0, or a number that says what is wrong; then the first such matrix is the Error that
/// describe(i, number) gives.
template <class F, class Describe>
void for_each_matrix_or_fail(char const* op, int64_t count, double work, F f, Describe describe) {
  std::atomic<int64_t> first{std::numeric_limits<int64_t>::max()};
  for_each_matrix(count, work, [&](int64_t i) {
    if (f(i) == 0) return;
    int64_t seen = first.load();
    while (i < seen && !first.compare_exchange_weak(seen, i)) {
    }
  });
  int64_t const bad = first.load();
  if (bad != std::numeric_limits<int64_t>::max()) fail(op, describe(bad));
}

/// "batch element 3 of [2, 2]", or "the matrix" where there is no batch.
inline std::string matrix_name(Shape const& lead, int64_t i) {
  return lead.rank() == 0 ? "the matrix" : fmt::format("matrix {} of the batch {}", i, to_string(lead));
}

template <class T>
bool all_finite(T const* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if (!std::isfinite(x[i])) return false;
  return true;
}

}  // namespace heed
