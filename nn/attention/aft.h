// The attention-free transformer.
#pragma once

#include <heed/nn/attention/scan_attention.h>

namespace heed::nn {

/// σ(q_t)·Σ_{s≤t} exp(k_s)·v_s / Σ_{s≤t} exp(k_s), every channel for itself (Zhai et al., "An attention free
/// transformer", 2021, AFT-simple: the paper's table of position weights is 0). A running mean with weights of its own;
/// what a query wants only opens its gate.
class AttentionFree final : public ChannelScan {
 public:
  struct Config {
    Settings around = {};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  AttentionFree(AttentionConfig const& given, Config const& own)
      : ChannelScan(given, own.around),
        q_proj(config.dim, inner(), config.bias),
        k_proj(config.dim, inner(), config.bias) {}
  bool spreads() const override { return false; }
  void visit(Visitor& visitor) override {
    ChannelScan::visit(visitor);
    visitor.child("q_proj", q_proj);
    visitor.child("k_proj", k_proj);
  }

  Linear q_proj, k_proj;

 private:
  Tensor recur(Tensor const& u, ScanOperands& o) const override {
    auto const [decay, weight] = prefix_softmax(o, by_head(k_proj(o.x)));
    return sigmoid(wide(q_proj(o.x))) * channel_scan(o, decay, wide(u), weight.transpose(1, 2));
  }
};

}  // namespace heed::nn
