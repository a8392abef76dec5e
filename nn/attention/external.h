// External attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/attention.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>
#include <heed/nn/linear.h>

#include <cmath>

namespace heed::nn {

/// A = softmax_T(q·M_kᵀ), rows then divided by their sums, A·M_v: `slots` learned keys and values of each head stand
/// for the whole data set, and no position sees another but through the softmax over T (Guo et al., "Beyond
/// self-attention: external attention", 2021): time T·slots·dim. A cheap mixing for vision; it cannot hide the future.
class ExternalAttention final : public Attention {
 public:
  struct Config {
    int64_t slots = 64;
    void visit(ConfigVisitor& v) { v.field("slots", slots, "learned keys and values of each head"); }
  };
  ExternalAttention(AttentionConfig const& given, Config const& own)
      : Attention(given), q_proj(config.dim, config.dim, config.bias), out_proj(config.dim, config.dim, config.bias) {
    expect_at_least(1, "external", "count of slots", own.slots);
    for (Tensor* each : {&keys, &values}) {
      *each = empty({config.heads, own.slots, config.head_dim()});
      init::normal_(*each, 1 / std::sqrt(double(config.head_dim())));
      each->requires_grad_();
    }
  }
  Traits traits() const override { return {.causal = false, .cross = false, .steps = false, .time = Growth::linear}; }
  void visit(Visitor& visitor) override {
    visitor.child("q_proj", q_proj);
    visitor.parameter("keys", keys);
    visitor.parameter("values", values);
    visitor.child("out_proj", out_proj);
  }

  Linear q_proj, out_proj;
  Tensor keys, values;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    Tensor const scores = matmul(split_heads(q_proj(x), config.heads), keys.transpose(1, 2));  // [B, H, T, slots]
    Tensor a = context.lengths.defined()
                   ? masked::softmax(scores, valid_positions(context.lengths, x.size(1)).view({-1, 1, x.size(1), 1}), 2)
                   : softmax(scores, 2);
    a = a / clamp_min(sum(a, {3}, true), 1e-12);
    return out_proj(join_heads(matmul(a, values)));
  }
};

}  // namespace heed::nn
