// Gated linear recurrences of single numbers: minGRU and RG-LRU.
#pragma once

#include <heed/nn/attention/scan_attention.h>

namespace heed::nn {

/// h_t = (1 − z_t)·h_{t−1} + z_t·(x·W_h), z = σ(x·W_z + b): a GRU whose gates do not read h, so that it is a scan (Feng
/// et al., "Were RNNs all we needed?", 2024).
class MinGru final : public ChannelScan {
 public:
  struct Config {
    Settings around = {};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  MinGru(AttentionConfig const& given, Config const& own) : ChannelScan(given, own.around), z(config.dim, inner()) {}
  void visit(Visitor& visitor) override {
    ChannelScan::visit(visitor);
    visitor.child("z", z);
  }

  Linear z;

 private:
  Tensor recur(Tensor const& u, ScanOperands& o) const override {
    Tensor const logits = wide(z(o.x));
    return channel_scan(o, log_sigmoid(-logits).transpose(1, 2), wide(u), sigmoid(logits));
  }
};

/// h_t = a_t·h_{t−1} + √(1 − a_t²)·(i_t·u_t), a_t = exp(−8·softplus(Λ)·r_t), r and i gates of u: the input is scaled so
/// that h keeps its size (De et al., "Griffin", 2024). In the paper two such layers stand between sliding windows.
class RgLru final : public ChannelScan {
 public:
  struct Config {
    Settings around = {.conv = 4, .gate = true};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  RgLru(AttentionConfig const& given, Config const& own)
      : ChannelScan(given, own.around),
        keep(inner(), inner()),
        input(inner(), inner()),
        lambda(trainable(log(expm1(log(uniform({inner()}, 0.9, 0.999)) * (-1. / 8))))) {}
  void visit(Visitor& visitor) override {
    ChannelScan::visit(visitor);
    visitor.child("keep", keep);
    visitor.child("input", input);
    visitor.parameter("lambda", lambda);
  }

  Linear keep, input;
  Tensor lambda;

 private:
  Tensor recur(Tensor const& u, ScanOperands& o) const override {
    Tensor const log_a = sigmoid(wide(keep(u))) * softplus(wide(lambda)) * -8.;
    Tensor const given = sqrt(-expm1(log_a * 2.)) * sigmoid(wide(input(u)));
    return channel_scan(o, log_a.transpose(1, 2), wide(u), given);
  }
};

}  // namespace heed::nn
