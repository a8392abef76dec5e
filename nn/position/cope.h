// Contextual positions.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/init.h>
#include <heed/nn/position/distance.h>

#include <cmath>

namespace heed::nn {

/// s + q_i·e[p_ij], p_ij = min(Σ_{j≤l≤i} σ(s_il), most), e interpolated between whole numbers: positions count what the
/// query looks for, words or sentences, instead of tokens (Golovneva et al., "Contextual position encoding", 2024).
/// Open gates count i − j + 1. The running sums need a row's scores in order, so those of a block of queries are held
/// and made again for backward; hooks see the core once a block. Causal; about three times the time.
class Cope final : public Part {
 public:
  struct Config {
    int64_t most = 64;
    void visit(ConfigVisitor& v) { v.field("most", most, "the largest position; what lies beyond counts as it"); }
  };
  Cope(AttentionConfig const& given, Config const& own) : Part(given) {
    check(own.most >= 1, "cope", [] { return Complaint{"expected a largest position of 1 or more", "64 is usual"}; });
    weight = empty({given.head_dim(), own.most + 1});
    init::normal_(weight, 1 / std::sqrt(double(given.head_dim())));
    weight.requires_grad_();
  }
  Attended weigh(HeadOperands const& o, CoreStep const& next) const override {
    check(o.q.size(3) == weight.size(0), "cope", [] {
      return Complaint{"a part before it splits heads, and leaves no whole queries", "name cope first"};
    });
    auto const block = [o, weight = weight, next](Tensor const& q, Tensor const& k, Tensor const& v,
                                                  AttendOptions const& options) {
      HeadOperands own = o;
      own.q = q, own.k = k, own.v = v, own.options = options;
      AttendOptions plain = options;
      plain.score = plain.weight = {};
      Tensor const s = dense_scores(own.q, own.k, plain);
      Tensor const gates = where(s > -INFINITY, sigmoid(s), 0.);
      double const most = double(weight.size(1) - 1);
      Tensor const p = clamp(flip(cumsum(flip(gates, {3}), 3), {3}), 0, most);
      Tensor const below = floor(p.detach()), above = ceil(p.detach()), share = p - below;
      Tensor const at = matmul(own.q, weight);  // [B, H, T, most + 1]
      auto const of = [&](Tensor const& whole) { return gather(at, 3, whole.to(Dtype::i64)); };
      Tensor const bias = of(below) * (1. - share) + of(above) * share;
      double const shift = double(own.k.size(2) - own.q.size(2));
      then_score(own.options, [&](auto score, auto where) {
        return score + read(bias, {where.b, where.h, where.i - shift, where.j});
      });
      return next(own).out;
    };
    return {by_query_blocks(o.q, o.k, o.v, o.options, block), {}};
  }
  void visit(Visitor& visitor) override { visitor.parameter("weight", weight); }
  bool spreads() const override { return false; }
  Traits traits() const override { return {.bidirectional = false, .cross = false, .equivariant = false}; }

  Tensor weight;  // [D, most + 1]
};

}  // namespace heed::nn
