// Prefix-tuning.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>
#include <heed/nn/linear.h>

namespace heed::nn {

/// `length` learned keys and values [k, v] = tanh(P·W₁ + b₁)·W₂ + b₂ that every query sees (Li and Liang, 2021): a
/// frozen model is adapted by these alone. The way through two layers steadies training. Merged by log-sum-exp.
/// Time T·length·dim more. Where nothing is frozen, "persistent" does the same with fewer parameters.
class PrefixTuning final : public Part {
 public:
  struct Config {
    int64_t length = 16, hidden = 64;
    void visit(ConfigVisitor& v) {
      v.field("length", length, "learned positions");
      v.field("hidden", hidden, "width between the two layers");
    }
  };
  PrefixTuning(AttentionConfig const& given, Config const& own)
      : Part(given),
        inner((expect_at_least(1, "prefix-tuning", "hidden width", own.hidden), own.hidden), own.hidden),
        outer(own.hidden, 2 * given.kv_heads * given.head_dim()) {
    expect_at_least(0, "prefix-tuning", "length", own.length);
    prefix = empty({own.length, own.hidden});
    init::normal_(prefix, 1);
    prefix.requires_grad_();
  }
  Attended weigh(HeadOperands const& o, CoreStep const& next) const override {
    Attended const seen = next(o);
    int64_t const length = prefix.size(0);
    if (length == 0) return seen;
    expect_softmax("prefix-tuning", {.weight = o.options.weight, .entmax = o.options.entmax, .top_k = o.options.top_k});
    Tensor const both = outer(tanh(inner(prefix))).view({length, 2, config.kv_heads, config.head_dim()});
    auto const taken = [&](int64_t which) {
      Tensor const one = both.slice(1, which, which + 1).transpose(0, 2).squeeze(1).unsqueeze(0);
      return one.expand({o.q.size(0), config.kv_heads, length, config.head_dim()});
    };
    SequenceScope const whole(nullptr);  // these keys are everywhere
    return merge(seen, core(o.q, taken(0), taken(1), {.scale = o.options.scale}));
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("prefix", prefix);
    visitor.child("inner", inner);
    visitor.child("outer", outer);
  }

  Linear inner, outer;
  Tensor prefix;
};

}  // namespace heed::nn
