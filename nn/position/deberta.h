// Disentangled attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/init.h>
#include <heed/nn/position/distance.h>

#include <cmath>

namespace heed::nn {

/// (q_i·k_j + q_i·K_δ(i,j) + k_j·Q_δ(j,i))/√(3D), δ(i, j) = clip(i − j, −R, R): content to content, content to
/// position, position to content (He et al., "DeBERTa", 2020). K and Q, its projections of one table of distances, are
/// learned directly here. Two tables T × (2R + 1) that scores read.
class Disentangled final : public Part {
 public:
  struct Config {
    int64_t reach = 16;
    void visit(ConfigVisitor& v) { v.field("reach", reach, "R: distances beyond it count as it"); }
  };
  Disentangled(AttentionConfig const& given, Config const& own) : Part(given), reach_(own.reach) {
    check(own.reach >= 1, "deberta", [] { return Complaint{"expected a reach of 1 or more", "set reach"}; });
    keys = empty({given.heads, 2 * own.reach + 1, given.head_dim()});
    queries = empty({given.kv_heads, 2 * own.reach + 1, given.head_dim()});
    for (Tensor* t : {&keys, &queries}) {
      init::normal_(*t, 1 / std::sqrt(double(given.head_dim())));
      t->requires_grad_();
    }
  }
  void options(HeadOperands& o) const override {
    double const scale = 1 / std::sqrt(3 * double(o.q.size(3)));
    double const shift = double(o.k.size(2) - o.q.size(2)), reach = double(reach_);
    double const share = double(o.k.size(1)) / double(o.q.size(1));
    o.options.scale = scale;
    Tensor const to_position = matmul(o.q * scale, keys.transpose(1, 2));
    Tensor const from_position = matmul(o.k * scale, queries.transpose(1, 2));
    then_score(o.options, [&](auto s, auto at) {
      return s + read(to_position, {at.b, at.h, at.i - shift, at.i - at.j + reach}) +
             read(from_position, {at.b, floor((at.h + 0.5) * share), at.j, at.j - at.i + reach});
    });
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("keys", keys);
    visitor.parameter("queries", queries);
  }
  bool spreads() const override { return false; }
  Traits traits() const override { return of_distance(); }

  Tensor keys, queries;

 private:
  int64_t reach_;
};

}  // namespace heed::nn
