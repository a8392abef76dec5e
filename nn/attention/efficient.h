// Efficient attention.
#pragma once

#include <heed/nn/attention/scan_attention.h>

#include <cmath>

namespace heed::nn {

/// softmax_D(q)·(softmax_T(k)ᵀ·v): every feature of k is a weighted mean of the sequence, every query a mixture of
/// those means, so that its implied rows sum to 1 (Shen et al., "Efficient attention", 2018; with one head it is the
/// gathering and handing out of "A²-Nets", Chen et al., 2018). Causal: the softmax of k runs over the positions so far.
/// For global context at linear cost; D means a head are all that it keeps.
class EfficientAttention final : public ScanAttention {
 public:
  struct Config {
    ScanSettings around = {};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  EfficientAttention(AttentionConfig const& given, Config const& own) : ScanAttention(given, own.around) {}
  bool spreads() const override { return false; }

 private:
  Traits kind_traits() const override { return any_way(); }
  void features(ScanOperands& o) const override {
    o.q = softmax(o.q);
    if (config.causal) {
      auto const [decay, weight] = prefix_softmax(o, o.k);
      o.scan.decay = decay;
      o.k = weight;
    } else {
      if (o.valid.defined()) o.k = where(o.valid.unsqueeze(1).unsqueeze(-1), o.k, -INFINITY);
      o.k = softmax(o.k, 2);
    }
  }
};

}  // namespace heed::nn
