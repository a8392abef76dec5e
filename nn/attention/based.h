// Taylor features.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/scan_attention.h>

#include <cmath>
#include <string>

namespace heed::nn {

/// [1, x/d^¼, x⊗x/√(2d)] of x [.., d]: the product of two is 1 + s + s²/2, s = q·k/√d.
inline Tensor taylor_features(Tensor const& x) {
  double const d = double(x.size(-1));
  Tensor const squares = (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2) * (1 / std::sqrt(2 * d));
  return cat({ones_like(x.slice(-1, 0, 1)), x * std::pow(d, -0.25), squares}, -1);
}

/// Linear attention whose kernel is the second-order Taylor polynomial of exp, 1 + s + s²/2 > 0, of narrow queries and
/// keys: sharper than elu + 1, exact as a polynomial, with a state of d² rows (Arora et al., "Based", 2024). The paper
/// pairs it with windows of about 64 for what is near: stack it with sliding.
class Based final : public ScanAttention {
 public:
  struct Config {
    int64_t features = 16;
    ScanSettings around = {};
    void visit(ConfigVisitor& v) {
      v.field("features", features, "width d of a head's queries and keys; its state has 1 + d + d² rows");
      around.visit(v);
    }
  };
  Based(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around, {.key = positive(own.features)}) {}

 private:
  static int64_t positive(int64_t features) {
    check(features >= 1, "based", [&] {
      return Complaint{"expected a width of 1 or more, got " + std::to_string(features), "use 16"};
    });
    return features;
  }
  Traits kind_traits() const override { return any_way(); }
  void features(ScanOperands& o) const override {
    o.q = taylor_features(o.q);
    o.k = taylor_features(o.k);
    o.normalize = true;
  }
};

}  // namespace heed::nn
