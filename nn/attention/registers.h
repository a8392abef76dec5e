// Memory tokens.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/init.h>

namespace heed::nn {

/// Multi-head attention over [tokens, x]: `count` learned vectors stand before the sequence, go through its keys and
/// values, and are seen by all (Burtsev et al., "Memory transformer", 2020; Darcet et al., "Vision transformers need
/// registers", 2024, who keep them from layer to layer; here each layer has its own). They take what would else be
/// stored in positions that have nothing to say. Time T·(T + count)·dim.
class Registers final : public Attention {
 public:
  struct Config {
    int64_t count = 4;
    void visit(ConfigVisitor& v) { v.field("count", count, "learned vectors before the sequence"); }
  };
  Registers(AttentionConfig const& given, Config const& own) : Attention(given), heads(config) {
    expect_at_least(0, "registers", "count", own.count);
    tokens = empty({1, own.count, config.dim});
    init::normal_(tokens, 1);
    tokens.requires_grad_();
  }
  Traits traits() const override { return {.cross = false}; }
  std::unique_ptr<AttentionState> make_state(int64_t positions) const override {
    auto state = std::make_unique<StateList>();
    state->states.push_back(heads.make_state(positions + tokens.size(1)));
    return state;
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("tokens", tokens);
    heads.visit(visitor);
  }

  Tensor tokens;
  MultiHeadAttention heads;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const t = x.size(1), n = tokens.size(1);
    AttentionContext inner;
    auto* const own = context.state ? &state_as<StateList>(*context.state) : nullptr;
    if (own) inner.state = own->states.at(0).get();
    if (context.lengths.defined()) inner.lengths = context.lengths + n;
    bool const first = !own || own->length == 0;
    if (own) own->length += t;
    if (!first) return heads(x, inner);
    return heads(cat({tokens.expand({x.size(0), n, config.dim}), x}, 1), inner).slice(1, n, n + t);
  }
};

}  // namespace heed::nn
