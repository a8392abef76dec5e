// Two kinds side by side.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/catalogue.h>

#include <algorithm>
#include <string>

namespace heed::nn {

/// α⊙first(x) + β⊙second(x), α and β [dim] learned from ½: attention for what must be found exactly beside a recurrence
/// for what must not be forgotten (Dong et al., "Hymba", 2024; stacks of both: Jamba, Samba, Griffin, 2024). β = 0: the
/// first alone. Costs and states of both.
class Hybrid final : public Attention {
 public:
  struct Config {
    std::string first = "multi-head", second = "lightweight";
    void visit(ConfigVisitor& v) {
      v.field("first", first, "a kind, with its defaults");
      v.field("second", second, "another");
    }
  };
  Hybrid(AttentionConfig const& given, Config const& own)
      : Attention(given),
        first(make_attention(own.first, config)),
        second(make_attention(own.second, config)),
        alpha(full({config.dim}, 0.5)),
        beta(full({config.dim}, 0.5)) {
    alpha.requires_grad_(), beta.requires_grad_();
  }
  Traits traits() const override {
    Traits both_traits = both(first->traits(), second->traits());
    both_traits.cross = false;
    both_traits.time = std::max(first->traits().time, second->traits().time);
    both_traits.state = std::max(first->traits().state, second->traits().state);
    return both_traits;
  }
  std::unique_ptr<AttentionState> make_state(int64_t positions) const override {
    auto list = std::make_unique<StateList>();
    list->states.push_back(first->make_state(positions));
    list->states.push_back(second->make_state(positions));
    return list;
  }
  void visit(Visitor& visitor) override {
    visitor.child("first", *first);
    visitor.child("second", *second);
    visitor.parameter("alpha", alpha);
    visitor.parameter("beta", beta);
  }

  std::unique_ptr<Attention> first, second;
  Tensor alpha, beta;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    AttentionContext to_first = context, to_second = context;
    if (context.state) {
      auto& list = state_as<StateList>(*context.state);
      to_first.state = list.states.at(0).get();
      to_second.state = list.states.at(1).get();
    }
    Tensor const y = (*first)(x, to_first) * alpha + (*second)(x, to_second) * beta;
    if (context.state) context.state->length += x.size(1);
    return y;
  }
};

}  // namespace heed::nn
