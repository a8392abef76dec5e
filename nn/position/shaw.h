// Learned vectors of distances.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/init.h>
#include <heed/nn/position/distance.h>

#include <cmath>

namespace heed::nn {

/// (q_i·k_j + q_i·a[clip(j − i, −R, R)])/√D, a learned vector for each distance, shared by heads (Shaw, Uszkoreit and
/// Vaswani, "Self-attention with relative position representations", 2018; without the vectors added to values, which
/// they found not to matter). The products with a are a table T × (2R + 1) that scores read.
class ShawPosition final : public Part {
 public:
  struct Config {
    int64_t reach = 16;
    void visit(ConfigVisitor& v) { v.field("reach", reach, "R: distances beyond it count as it"); }
  };
  ShawPosition(AttentionConfig const& given, Config const& own) : ShawPosition(given, own.reach, false) {}
  /// With vectors of each head: Music Transformer's.
  ShawPosition(AttentionConfig const& given, int64_t reach, bool each_head) : Part(given), reach_(reach) {
    check(reach >= 1, each_head ? "music" : "shaw", [] {
      return Complaint{"expected a reach of 1 or more", "set reach, or block where it is the block"};
    });
    weight = empty({each_head ? given.heads : 1, 2 * reach + 1, given.head_dim()});
    init::normal_(weight, 1 / std::sqrt(double(given.head_dim())));
    weight.requires_grad_();
  }
  void options(HeadOperands& o) const override {
    double const scale = o.options.scale != 0 ? o.options.scale : 1 / std::sqrt(double(o.q.size(3)));
    double const shift = double(o.k.size(2) - o.q.size(2)), reach = double(reach_);
    Tensor const table = matmul(o.q * scale, weight.transpose(1, 2));  // [B, H, T, 2R + 1]
    then_score(o.options, [&](auto s, auto at) {
      return s + read(table, {at.b, at.h, at.i - shift, at.j - at.i + reach});
    });
  }
  void visit(Visitor& visitor) override { visitor.parameter("weight", weight); }
  bool spreads() const override { return false; }
  Traits traits() const override {
    // A reach of the block's length makes the table one of all pairs.
    Traits own = of_distance();
    if (weight.size(0) > 1) own.memory = Growth::quadratic;
    return own;
  }

  Tensor weight;

 private:
  int64_t reach_;
};

}  // namespace heed::nn
