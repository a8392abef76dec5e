// Agent attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/attention/segments.h>

#include <algorithm>

namespace heed::nn {

/// softmax(q·pᵀ)·softmax(p·kᵀ)·v: `agents` p, means of runs of queries, gather for all and hand on to each (Han et al.,
/// "Agent attention", 2024, without biases and convolution): time T·agents·dim. A global view at a linear price, for
/// images and long encoders; what two positions have to say to each other passes the agents.
class AgentAttention final : public Part {
 public:
  struct Config {
    int64_t agents = 49;
    void visit(ConfigVisitor& v) { v.field("agents", agents, "means of runs of queries"); }
  };
  AgentAttention(AttentionConfig const& given, Config const& own) : Part(given), agents_(own.agents) {
    expect_at_least(1, "agent", "count of agents", agents_);
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const m = std::min(agents_, o.q.size(2));
    Tensor const agents = matmul(run_weights(o.q, m, o.query_lengths), o.q);
    AttendOptions gather = o.elsewhere(), spread = o.elsewhere();
    if (o.lengths.defined()) gather.sees = lengths(o.lengths);
    if (o.query_lengths.defined()) spread.sees = lengths(clamp_max(o.query_lengths, m));
    return {core(o.q, agents, core(agents, o.k, o.v, gather).out, spread).out, {}};
  }
  Traits traits() const override {
    return {.causal = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }

 private:
  int64_t agents_;
};

}  // namespace heed::nn
