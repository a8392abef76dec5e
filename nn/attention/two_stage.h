// Attention over time, then over variates.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/init.h>

namespace heed::nn {

/// Features are `variates` groups of dim/variates each. Each variate attends over time by itself; then, at each time,
/// `routers` learned vectors collect from the variates, and the variates read the routers (Zhang and Yan,
/// "Crossformer", the two-stage attention, 2023): time T²·dim + T·variates·routers·dim/variates. y = time(x) +
/// spread(x + time(x)). For multivariate series whose variates stay apart; where features mean nothing one by one,
/// multi-head.
class TwoStageAttention final : public Attention {
 public:
  struct Config {
    int64_t variates = 2, routers = 2;
    void visit(ConfigVisitor& v) {
      v.field("variates", variates, "groups of features; must divide dim, and heads its share");
      v.field("routers", routers, "vectors through which variates see each other");
    }
  };
  TwoStageAttention(AttentionConfig const& given, Config const& own)
      : Attention(given),
        time(share(config, own, config.causal)),
        collect(share(config, own, false)),
        spread(share(config, own, false)),
        variates_(own.variates) {
    expect_at_least(1, "two-stage", "count of routers", own.routers);
    routers = empty({1, own.routers, config.dim / variates_});
    init::normal_(routers, 1);
    routers.requires_grad_();
  }
  Traits traits() const override { return {.cross = false}; }
  std::unique_ptr<AttentionState> make_state(int64_t positions) const override { return time.make_state(positions); }
  void visit(Visitor& visitor) override {
    visitor.parameter("routers", routers);
    visitor.child("time", time);
    visitor.child("collect", collect);
    visitor.child("spread", spread);
  }

  Tensor routers;
  MultiHeadAttention time, collect, spread;

 private:
  static AttentionConfig share(AttentionConfig config, Config const& own, bool causal) {
    expect_at_least(1, "two-stage", "count of variates", own.variates);
    check(config.dim % (own.variates * config.heads) == 0, "two-stage", [] {
      return Complaint{"expected a width that variates·heads divide", "choose fewer variates or heads"};
    });
    config.dim /= own.variates;
    config.causal = causal;
    return config;
  }
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const b = x.size(0), t = x.size(1), d = config.dim / variates_;
    Tensor const series = x.view({b, t, variates_, d}).transpose(1, 2).reshape({b * variates_, t, d});
    AttentionContext own{.state = context.state};
    if (context.lengths.defined()) own.lengths = repeat_interleave(context.lengths, variates_, 0);
    Tensor const past = time(series, own).view({b, variates_, t, d}).transpose(1, 2).reshape({b * t, variates_, d});
    Tensor const now = x.reshape({b * t, variates_, d}) + past;
    Tensor const met = collect(routers.expand({b * t, routers.size(1), d}), {.memory = now});
    return (past + spread(now, {.memory = met})).view({b, t, config.dim});
  }
  int64_t variates_;
};

}  // namespace heed::nn
