// Persistent memory.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn {

/// softmax over [keys, M_k]: `slots` learned keys and values that every query sees whatever is hidden from it
/// (Sukhbaatar et al., "Augmenting self-attention with persistent memory", 2019, in place of the feed-forward layer).
/// They hold what does not depend on the text, and take the weight that sinks would. Merged by log-sum-exp, so that
/// windows, caches and scores of the rest stay as they are. Time T·slots·dim more.
class PersistentMemory final : public Part {
 public:
  struct Config {
    int64_t slots = 16;
    void visit(ConfigVisitor& v) { v.field("slots", slots, "learned keys and values of each head"); }
  };
  PersistentMemory(AttentionConfig const& given, Config const& own) : Part(given) {
    expect_at_least(0, "persistent", "count of slots", own.slots);
    for (Tensor* each : {&keys, &values}) {
      *each = empty({1, given.kv_heads, own.slots, given.head_dim()});
      init::normal_(*each, 1 / std::sqrt(double(given.head_dim())));
      each->requires_grad_();
    }
  }
  Attended weigh(HeadOperands const& o, CoreStep const& next) const override {
    Attended const seen = next(o);
    if (keys.size(2) == 0) return seen;
    expect_softmax("persistent", {.weight = o.options.weight, .entmax = o.options.entmax, .top_k = o.options.top_k});
    Shape shape = keys.shape();
    shape[0] = o.q.size(0);
    SequenceScope const whole(nullptr);  // these keys are everywhere
    return merge(seen, core(o.q, keys.expand(shape), values.expand(shape), {.scale = o.options.scale}));
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("keys", keys);
    visitor.parameter("values", values);
  }

  Tensor keys, values;
};

}  // namespace heed::nn
