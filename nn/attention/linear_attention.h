// Linear attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/scan_attention.h>

#include <cmath>
#include <string>

namespace heed::nn {

/// o_t = φ(q_t)ᵀ·Σφ(k_s)v_sᵀ / φ(q_t)ᵀ·Σφ(k_s), φ(x) = elu(x) + 1: softmax's exp(q·k) replaced by φ(q)·φ(k), so that
/// sums over s ≤ t are a state (Katharopoulos et al., "Transformers are RNNs", 2020). Rotary positions turn φ in the
/// numerator alone (Su et al., 2021). For long sequences at a state's cost; its kernel is nearly flat and the state
/// holds about D associations a head, so that it recalls badly: see delta, based, gated kinds.
class LinearAttention final : public ScanAttention {
 public:
  struct Config {
    std::string map = "elu";
    bool normalize = true;
    ScanSettings around = {};
    void visit(ConfigVisitor& v) {
      v.field("map", map, "φ of each feature: elu (+1), relu, identity");
      v.field("normalize", normalize, "divide by φ(q)·Σφ(k); else q·k is scaled by 1/√D");
      around.visit(v);
    }
  };
  LinearAttention(AttentionConfig const& given, Config const& own) : ScanAttention(given, own.around), own_(own) {
    check(own.map == "elu" || own.map == "relu" || own.map == "identity", "linear", [&] {
      return Complaint{"expected the map elu, relu or identity, got '" + own.map + "'", "choose one of them"};
    });
  }

 private:
  Traits kind_traits() const override { return any_way(); }
  void features(ScanOperands& o) const override {
    if (own_.map != "identity")
      for (Tensor* x : {&o.q, &o.k}) *x = own_.map == "elu" ? elu(*x) + 1 : relu(*x);
    o.normalize = own_.normalize;
    if (!own_.normalize) o.scan.scale = 1 / std::sqrt(double(widths.key));
  }
  Config own_;
};

}  // namespace heed::nn
