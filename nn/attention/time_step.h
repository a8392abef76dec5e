// Steps of time that depend on the data.
#pragma once

#include <heed/nn/attention/scan_attention.h>

namespace heed::nn {

/// Δ = softplus(x·W + b) for each head, and its decay exp(−A·Δ): how much of the past a step forgets (Gu and Dao,
/// "Mamba", 2023). b starts so that Δ is log-uniform in [0.001, 0.1], A uniform in [1, 16].
class TimeStep final : public Module {
 public:
  TimeStep(int64_t dim, int64_t heads)
      : rate(dim, heads, false),
        bias(trainable(time_step_bias(heads))),
        log_a(trainable(log(uniform({heads}, 1, 16)))) {}
  Tensor delta(Tensor const& x) const { return softplus(by_head(rate(x)) + wide(bias).unsqueeze(-1)); }  // [B, H, T]
  Tensor decay(Tensor const& delta) const { return -exp(wide(log_a)).unsqueeze(-1) * delta; }
  void visit(Visitor& visitor) override {
    visitor.child("rate", rate);
    visitor.parameter("bias", bias);
    visitor.parameter("log_a", log_a);
  }

  Linear rate;
  Tensor bias, log_a;  // [H]
};

}  // namespace heed::nn
