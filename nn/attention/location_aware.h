// Location-aware attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn {

/// s_ij = Σ_d w_hd·tanh(q_id + k_jd + Σ_f U_df·(F_f ∗ α_{i−1})_j): where a query looks depends on where the one before
/// it looked, by `filters` convolutions over its weights (Chorowski et al., "Attention-based models for speech
/// recognition", 2015). For alignments that move on. Queries come one after the other, and their weights are held:
/// memory T². F = 0 is additive attention.
class LocationAware final : public Part {
 public:
  struct Config {
    int64_t filters = 4, reach = 3;
    void visit(ConfigVisitor& v) {
      v.field("filters", filters, "convolutions over the weights before");
      v.field("reach", reach, "keys that each sees to both sides");
    }
  };
  LocationAware(AttentionConfig const& given, Config const& own) : Part(given), reach_(own.reach) {
    check(own.filters >= 1 && own.reach >= 0, "location-aware", [] {
      return Complaint{"expected 1 filter or more and a reach of 0 or more", "4 and 3 suit short sequences"};
    });
    weight = empty({given.heads, given.head_dim()});
    filters = empty({own.filters, 1, 2 * own.reach + 1});
    mixing = empty({given.heads, given.head_dim(), own.filters});
    for (Tensor* t : {&weight, &filters, &mixing}) {
      init::normal_(*t, 1 / std::sqrt(double(t->size(-1))));
      t->requires_grad_();
    }
  }
  bool is_core() const override { return true; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    expect_softmax("location-aware", o.options);
    return core(
        o.q, o.k, o.v, o.options,
        [this](Tensor const& q, Tensor const& k, AttendOptions const& options) { return weights(q, k, options); },
        false);
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("weight", weight);
    visitor.parameter("filters", filters);
    visitor.parameter("mixing", mixing);
  }
  bool spreads() const override { return false; }
  Traits traits() const override { return {.steps = false, .equivariant = false, .memory = Growth::quadratic}; }

  Tensor weight, filters, mixing;

 private:
  Tensor weights(Tensor const& q, Tensor const& shared, AttendOptions const& options) const {
    check(!options.score, "location-aware", [] {
      return Complaint{"its scores are no products, and leave no place for others", "name positions at the input"};
    });
    int64_t const b = q.size(0), h = q.size(1), keys = shared.size(2);
    Tensor const k = for_each_head(shared, h), seen = dense_scores(q.detach(), k.detach(), options) > -INFINITY;
    Tensor const w = weight.unsqueeze(2);  // [H, D, 1]
    Tensor before = zeros({b, h, keys}, q.dtype(), q.device());
    std::vector<Tensor> rows;
    for (int64_t i = 0; i < q.size(2); ++i) {
      Tensor const felt = conv1d(before.reshape({b * h, 1, keys}), filters, {}, {.padding = {reach_}});
      Tensor const located = matmul(mixing, felt.reshape({b, h, filters.size(0), keys}));  // [B, H, D, S]
      Tensor const inner = tanh(q.slice(2, i, i + 1) + k + located.transpose(2, 3));
      Tensor const now = seen.slice(2, i, i + 1).squeeze(2), s = matmul(inner, w).squeeze(3);
      before = where(now, softmax(where(now, s, -1e30)), 0.);
      rows.push_back(before);
    }
    return stack(rows, 2);
  }

  int64_t reach_;
};

}  // namespace heed::nn
