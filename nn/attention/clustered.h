// Clustered queries.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/attention/segments.h>

#include <algorithm>
#include <limits>

namespace heed::nn {

/// Queries fall into `clusters` by k-means, from means of runs on; each cluster's mean attends, and its queries take
/// the result (Vyas et al., "Fast transformers with clustered attention", 2020, there by hashes first): time
/// T·clusters·dim. Queries that ask alike ask once. The mean of a cluster knows its whole sequence, so that it cannot
/// hide the future.
class Clustered final : public Part {
 public:
  struct Config {
    int64_t clusters = 32, iterations = 5;
    void visit(ConfigVisitor& v) {
      v.field("clusters", clusters, "of the queries of each head");
      v.field("iterations", iterations, "of k-means");
    }
  };
  Clustered(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "clustered", "count of clusters", own_.clusters);
    expect_at_least(0, "clustered", "count of iterations", own_.iterations);
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const b = o.q.size(0), h = o.q.size(1), t = o.q.size(2), m = std::min(own_.clusters, t);
    Tensor nearest, weights;  // [B, H, T], and [B, H, m, T]: rows whose products with q are means
    {
      NoGrad const off;
      weights = run_weights(o.q, m, o.query_lengths);
      Tensor const there = o.query_lengths.defined() ? valid_positions(o.query_lengths, t).view({b, 1, t, 1})
                                                     : full({1, 1, 1, 1}, true, Dtype::boolean).to(o.q.device());
      Tensor const exists = sum(weights, {3}) > 0.;  // runs of nothing make no cluster
      Tensor means = matmul(weights, o.q);
      for (int64_t i = 0; i <= own_.iterations; ++i) {
        Tensor const near = matmul(o.q, means.transpose(2, 3)) - sum(means * means, {3}).unsqueeze(2) * 0.5;
        nearest = argmax(where(exists.unsqueeze(2), near, -std::numeric_limits<double>::infinity()), 3);
        Tensor const in = (where(there, one_hot(nearest, m), int64_t{0})).to(o.q.dtype()).transpose(2, 3);
        Tensor const count = sum(in, {3}, true);
        weights = in / clamp_min(count, 1.);
        means = where(count > 0., matmul(weights, o.q), means);
      }
    }
    AttendOptions options = o.elsewhere();
    if (o.lengths.defined()) options.sees = lengths(o.lengths);
    Attended const seen = core(matmul(weights, o.q), o.k, o.v, options);
    int64_t const e = seen.out.size(3);
    return {gather(seen.out, 2, nearest.unsqueeze(3).expand({b, h, t, e})), gather(seen.lse, 2, nearest)};
  }
  Traits traits() const override {
    return {.causal = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }

 private:
  Config own_;
};

}  // namespace heed::nn
