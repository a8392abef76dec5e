// Slot attention.
#pragma once

#include <heed/nn/attention/inverted.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/init.h>
#include <heed/nn/norm.h>
#include <heed/nn/recurrent.h>

namespace heed::nn {

/// `slots` vectors that divide a set among them: s ← GRU(inverted attention of norm(s) over norm(x), s), `iterations`
/// times with the same weights: [B, T, dim] → [B, slots, dim] (Locatello et al., "Object-centric learning with slot
/// attention", 2020; its slots are drawn at random, here they are learned, and the layer after the GRU is the model's).
/// Time iterations·T·slots·dim. For objects of a scene, sources of a mixture; where one vector should see all, "pma".
class SlotAttention final : public Attention {
 public:
  struct Config {
    int64_t slots = 7, iterations = 3;
    void visit(ConfigVisitor& v) {
      v.field("slots", slots, "vectors that come out");
      v.field("iterations", iterations, "rounds of competition");
    }
  };
  SlotAttention(AttentionConfig const& given, Config const& own)
      : Attention(given),
        norm_x(config.dim),
        norm_slots(config.dim),
        look(config, competing(config)),
        update(config.dim, config.dim),
        iterations_(own.iterations) {
    expect_at_least(1, "slots", "count of slots", own.slots);
    expect_at_least(1, "slots", "count of iterations", own.iterations);
    slots = empty({1, own.slots, config.dim});
    init::normal_(slots, 1);
    slots.requires_grad_();
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .pools = true, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("slots", slots);
    visitor.child("norm_x", norm_x);
    visitor.child("norm_slots", norm_slots);
    visitor.child("look", look);
    visitor.child("update", update);
  }

  Tensor slots;
  LayerNorm norm_x, norm_slots;
  MultiHeadAttention look;
  GRUCell update;

 private:
  static Parts competing(AttentionConfig const& config) {
    Parts parts;
    parts.add("inverted", std::make_unique<InvertedWeights>(config));
    return parts;
  }
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    Tensor const clean = norm_x(x);
    Tensor s = slots.expand({x.size(0), slots.size(1), config.dim});
    for (int64_t i = 0; i < iterations_; ++i) {
      Tensor const found = look(norm_slots(s), {.memory = clean, .memory_lengths = context.lengths});
      s = update(found.reshape({-1, config.dim}), s.reshape({-1, config.dim})).view(s.shape());
    }
    return s;
  }
  int64_t iterations_;
};

}  // namespace heed::nn
