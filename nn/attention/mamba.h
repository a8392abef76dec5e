// The selective state space.
#pragma once

#include <heed/nn/attention/scan_attention.h>

#include <algorithm>

namespace heed::nn {

/// h_t = exp(−A·Δ_t)∘h_{t−1} + Δ_t·B_t·u_t for each channel and each of its N states, y_t = C_t·h_t + D·u_t; Δ, B and C
/// depend on u (Gu and Dao, "Mamba", 2023). Every step of every channel takes N exponentials, forward and again
/// backward: mamba2 is the faster form.
class Mamba final : public ChannelScan {
 public:
  struct Config {
    int64_t state = 16;
    Settings around = {.expand = 2, .conv = 4, .gate = true};
    void visit(ConfigVisitor& v) {
      v.field("state", state, "states N of a channel");
      around.visit(v);
    }
  };
  Mamba(AttentionConfig const& given, Config const& own)
      : ChannelScan(given, own.around),
        b(inner(), own.state, false),
        c(inner(), own.state, false),
        rate_in(inner(), std::max<int64_t>(config.dim / 16, 1), false),
        rate(rate_in.weight.size(0), inner(), false),
        rate_bias(trainable(time_step_bias(inner()))),
        log_a(trainable(log(arange(1, own.state + 1).to(Dtype::f32)).expand({inner(), own.state}).clone())),
        skip(trainable(ones({inner()}))) {}
  void visit(Visitor& visitor) override {
    ChannelScan::visit(visitor);
    visitor.child("b", b);
    visitor.child("c", c);
    visitor.child("rate_in", rate_in);
    visitor.child("rate", rate);
    visitor.parameter("rate_bias", rate_bias);
    visitor.parameter("log_a", log_a);
    visitor.parameter("skip", skip);
  }

  Linear b, c, rate_in, rate;
  Tensor rate_bias, log_a, skip;

 private:
  Tensor recur(Tensor const& u, ScanOperands& o) const override {
    Tensor const delta = softplus(wide(rate(rate_in(u))) + wide(rate_bias));  // [B, T, C]
    Tensor const y = channel_scan(o, delta.transpose(1, 2), wide(u), delta, wide(b(u)).unsqueeze(1),
                                  wide(c(u)).unsqueeze(1), -exp(wide(log_a)));
    return y + wide(skip) * wide(u);
  }
};

}  // namespace heed::nn
