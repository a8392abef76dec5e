// Talking heads.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>

namespace heed::nn {

/// P_w·softmax(P_l·s): scores, and then weights, are mixed between heads by learned matrices that start at the identity
/// (Shazeer et al., "Talking-heads attention", 2020). Mixing needs all heads' scores at once, so they are held,
/// of a block of queries where the layer is causal, H·T² of them where it is not or where a hook looks. For short
/// sequences.
class TalkingHeads final : public Part {
 public:
  explicit TalkingHeads(AttentionConfig const& given)
      : Part(given), logits(eye(given.heads)), weights(eye(given.heads)) {
    logits.requires_grad_();
    weights.requires_grad_();
  }
  bool is_core() const override { return true; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    expect_softmax("talking-heads", o.options);
    return core(
        o.q, o.k, o.v, o.options,
        [logits = logits, weights = weights](Tensor const& q, Tensor const& k, AttendOptions const& options) {
          Tensor const s = dense_scores(q, k, options), seen = s > -INFINITY;
          Tensor const p = softmax(where(seen, mixed(logits, where(seen, s, 0.)), -1e30));
          return mixed(weights, where(seen, p, 0.));
        },
        true);
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("logits", logits);
    visitor.parameter("weights", weights);
  }
  Traits traits() const override { return {.memory = Growth::quadratic}; }

  Tensor logits, weights;  // [H, H]

 private:
  /// y_h = Σ_g p_hg·x_g
  static Tensor mixed(Tensor const& p, Tensor const& x) {
    Tensor const flat = x.reshape({x.size(0), x.size(1), x.size(2) * x.size(3)});
    return matmul(p.to(x.dtype()), flat).reshape(x.shape());
  }
};

}  // namespace heed::nn
