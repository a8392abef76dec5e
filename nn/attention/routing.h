// Routing by clusters.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/buckets.h>

namespace heed::nn {

/// A query sees the keys that are nearest to the same of `clusters` centroids, by the angle (Roy et al., "Efficient
/// content-based sparse attention with routing transformers", 2021). In training centroids follow what they drew, by
/// 1 − decay a step (k-means as it goes). Time T²·dim/clusters where clusters are even; the paper evens them by taking
/// as many of each, which looks into the future, and is left out. For long sequences with topics.
class Routing final : public Part {
 public:
  struct Config {
    int64_t clusters = 8;
    double decay = 0.999;
    void visit(ConfigVisitor& v) {
      v.field("clusters", clusters, "centroids of each head");
      v.field("decay", decay, "share of a centroid that a step keeps");
    }
  };
  Routing(AttentionConfig const& given, Config const& own) : Part(given), decay_(own.decay) {
    expect_at_least(1, "routing", "count of clusters", own.clusters);
    centroids = normalize(randn({given.kv_heads, own.clusters, given.head_dim()}), 2, -1);
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    Tensor of_q, of_k;
    {
      NoGrad const off;
      int64_t const shared = o.q.size(1) / o.k.size(1);
      of_q = nearest(o.q, repeat_interleave(centroids, shared, 0));
      of_k = nearest(o.k, centroids);
      if (training() && !recomputing()) follow(o.k, of_k);
    }
    return attend_in_buckets(o, config.causal, of_q, of_k);
  }
  void visit(Visitor& visitor) override { visitor.buffer("centroids", centroids); }

  Tensor centroids;  // [G, clusters, D]

 private:
  static Tensor nearest(Tensor const& x, Tensor const& to) {
    return argmax(matmul(normalize(x, 2, -1), to.transpose(1, 2).unsqueeze(0)), 3);
  }
  void follow(Tensor const& k, Tensor const& cluster) const {
    Tensor const drawn = one_hot(cluster, centroids.size(1)).to(k.dtype());  // [B, G, S, clusters]
    Tensor const sums = sum(matmul(drawn.transpose(2, 3), normalize(k, 2, -1)), {0});
    Tensor const any = sum(drawn, {0, 2}).unsqueeze(2) > 0.;
    Tensor kept = centroids;
    kept.copy_(where(any, normalize(lerp(normalize(sums, 2, -1), centroids, decay_), 2, -1), centroids));
  }
  double decay_;
};

}  // namespace heed::nn
