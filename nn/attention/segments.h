// Means of runs of positions.
#pragma once

#include <heed/engine/ops.h>

#include <algorithm>

namespace heed::nn {

/// Each sequence of x [B, G, S, D] in `count` runs as equal as can be: weights [B or 1, 1, count, S] whose product with
/// x is their means. Of the first lengths[b] rows where given; a run without rows gives 0.
inline Tensor run_weights(Tensor const& x, int64_t count, Tensor const& lengths) {
  int64_t const s = x.size(2);
  Tensor const all = lengths.defined() ? lengths.view({-1, 1}) : full({1, 1}, s, Dtype::i64).to(x.device());
  Tensor const row = arange(s).to(x.device()).unsqueeze(0);
  Tensor const run = where(row < all, div(row * count, clamp_min(all, int64_t{1}), Rounding::floor), int64_t{-1});
  Tensor const in = (run.unsqueeze(1) == arange(count).to(x.device()).view({1, count, 1})).to(x.dtype());
  return (in / clamp_min(sum(in, {2}, true), 1.)).unsqueeze(1);
}

struct RunMeans {
  Tensor means;   // [B, G, n, D]
  Tensor counts;  // [B or 1, n], in x's type: rows in each
};
/// x [B, G, S, D] in runs of `size` rows, the last shorter; of the first lengths[b] rows where given.
inline RunMeans run_means(Tensor const& x, int64_t size, Tensor const& lengths = {}) {
  int64_t const s = x.size(2), n = (s + size - 1) / size;
  Tensor const all = lengths.defined() ? lengths.view({-1, 1}) : full({1, 1}, s, Dtype::i64).to(x.device());
  Tensor const there = arange(s).to(x.device()).unsqueeze(0) < all;
  Tensor const clean = lengths.defined() ? where(there.view({-1, 1, s, 1}), x, 0.) : x;
  Tensor const counts = clamp(all - arange(n).to(x.device()).unsqueeze(0) * size, int64_t{0}, size).to(x.dtype());
  Tensor const runs = pad(clean, {0, 0, 0, n * size - s}).view({x.size(0), x.size(1), n, size, x.size(3)});
  return {sum(runs, {3}) / clamp_min(counts, 1.).view({-1, 1, n, 1}), counts};
}

}  // namespace heed::nn
