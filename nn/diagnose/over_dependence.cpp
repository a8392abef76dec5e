#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/diagnose/over_dependence.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace heed::nn {
namespace {

/// weights of one head, [B, T, S] of f64 in row-major order
OverDependence measure_head(double const* weights, int64_t batch, int64_t t, int64_t s) {
  OverDependence sum{};
  int64_t rows = 0;
  std::vector<double> received(size_t(s), 0.0);
  std::vector<int64_t> seen_by(size_t(s), 0);
  // What a query could see is not what it weighs: a weight of 0 under the diagonal may be a collapse, not a mask.
  bool causal = true;
  for (int64_t row = 0; row < batch * t; ++row)
    for (int64_t j = std::max(row % t + s - t + 1, int64_t{0}); j < s; ++j)
      causal = causal && weights[row * s + j] == 0;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < t; ++i) {
      double const* const a = weights + (b * t + i) * s;
      int64_t const position = i + s - t;
      double entropy = 0, squares = 0, largest = 0, distance = 0;
      int64_t const seen = causal ? position + 1 : s;
      if (std::all_of(a, a + s, [](double weight) { return weight == 0; })) continue;  // fully masked
      double const total = std::accumulate(a, a + seen, 0.0);  // 1 of a softmax, not of a sigmoid or beside a sink
      for (int64_t j = 0; j < seen; ++j) {
        ++seen_by[size_t(j)];
        if (!(a[j] > 0)) continue;
        double const share = a[j] / total;
        entropy -= share * std::log(share);
        squares += share * share;
        largest = std::max(largest, a[j]);
        distance += share * double(std::abs(position - j));
        received[size_t(j)] += a[j];
      }
      if (seen < 2) continue;
      ++rows;
      sum.entropy += entropy;
      sum.entropy_share += entropy / std::log(double(seen));
      sum.effective_count += 1 / squares;
      sum.largest += largest;
      sum.distance += distance;
    }
  for (double* value : {&sum.entropy, &sum.entropy_share, &sum.effective_count, &sum.largest, &sum.distance})
    *value /= double(std::max(rows, int64_t{1}));
  // A key that few queries see would look like a sink by chance: at least a quarter of the queries must see it.
  for (int64_t j = 0; j < s; ++j)
    if (4 * seen_by[size_t(j)] >= batch * t)
      sum.sink = std::max(sum.sink, received[size_t(j)] / double(seen_by[size_t(j)]));
  return sum;
}

}  // namespace

std::vector<OverDependence> measure_over_dependence(Tensor const& weights) {
  check_defined("measure_over_dependence", weights);
  check(weights.rank() == 4, "measure_over_dependence", [&] {
    return Complaint{fmt::format("expected weights [B, H, T, S], got {}", to_string(weights.shape())),
                     "see attention_weights()"};
  });
  int64_t const b = weights.size(0), t = weights.size(2), s = weights.size(3);
  std::vector<OverDependence> heads;
  for (int64_t h = 0; h < weights.size(1); ++h) {
    auto const values = weights.detach().select(1, h).to_vector<double>();
    heads.push_back(measure_head(values.data(), b, t, s));
  }
  return heads;
}

}  // namespace heed::nn
