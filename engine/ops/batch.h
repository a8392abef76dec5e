// How a factorisation of one matrix runs over a batch.
#pragma once

#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tensor.h>

#include <algorithm>
#include <cmath>

namespace heed {

/// f(i) for every matrix of the batch; `work` is about the number of operations for one.
template <class F>
void for_each_matrix(int64_t count, double work, F f) {
  parallel_for(count, std::max<int64_t>(1, int64_t(30000 / (work + 1))), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

/// The first matrix of which wrong [count] is not 0 is the Error that describe(i, wrong) gives.
template <class Describe>
void check_matrices(char const* op, Tensor const& wrong, Describe describe) {
  auto const found = wrong.to_vector<int64_t>();
  for (size_t i = 0; i < found.size(); ++i)
    if (found[i] != 0) fail(op, describe(int64_t(i), found[i]));
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
