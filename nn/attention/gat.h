// Graph attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn {

/// s_ij = leaky(a·q_i + b·k_j), leaky(s) = s or 0.2·s where s < 0 (Veličković et al., "Graph attention networks",
/// 2018): a graph's edges come as AttentionContext::sees, [&](auto at) { return read(edges, {at.b, at.i, at.j}) > 0.;
/// }. Queries and keys are one number a head, and so is what a cache keeps of a key. The ranking of keys is the same
/// for all queries: where that matters take multi-head with the same edges.
class GraphAttention final : public Part {
 public:
  explicit GraphAttention(AttentionConfig const& given) : Part(given) {
    double const limit = 1 / std::sqrt(double(given.head_dim()));
    a = empty({given.heads, 1, given.head_dim()});
    b = empty({given.kv_heads, 1, given.head_dim()});
    for (Tensor* each : {&a, &b}) {
      init::uniform_(*each, -limit, limit);
      each->requires_grad_();
    }
  }
  void project(HeadOperands& o) const override {
    Tensor const of_q = sum(o.q * a, {3}, true), of_k = sum(o.k * b, {3}, true);
    o.q = cat({of_q, ones_like(of_q)}, 3);
    o.k = cat({ones_like(of_k), of_k}, 3);
  }
  void options(HeadOperands& o) const override {
    o.options.scale = 1;
    then_score(o.options, [](auto s, auto) { return max(s, 0.2 * s); });
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("a", a);
    visitor.parameter("b", b);
  }

  Tensor a, b;
};

}  // namespace heed::nn
