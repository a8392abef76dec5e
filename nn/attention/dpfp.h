// Deterministic parameter-free projection.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/scan_attention.h>

#include <string>
#include <vector>

namespace heed::nn {

/// r_i·r_(i−j mod 2D) for j = 1 … nu, r = relu([x, −x]), of x [.., D]: [.., 2·D·nu] features of which few are not 0, so
/// that different directions are orthogonal.
inline Tensor dpfp_features(Tensor const& x, int64_t nu) {
  Tensor const r = relu(cat({x, -x}, -1));
  std::vector<Tensor> products;
  for (int64_t j = 1; j <= nu; ++j) products.push_back(r * roll(r, {j}, {-1}));
  return nu == 1 ? products[0] : cat(products, -1);
}

/// Linear attention with φ = dpfp_features: 2·D·nu sparse features without parameters, so that the state holds as many
/// associations where elu + 1 holds D (Schlag et al., "Linear transformers are secretly fast weight programmers", 2021:
/// `heed-lab reproduce fast-weight`).
class Dpfp final : public ScanAttention {
 public:
  struct Config {
    int64_t nu = 1;
    ScanSettings around = {};
    void visit(ConfigVisitor& v) {
      v.field("nu", nu, "products of each feature with its neighbours; a state of 2·D·nu rows");
      around.visit(v);
    }
  };
  Dpfp(AttentionConfig const& given, Config const& own) : ScanAttention(given, own.around), nu_(own.nu) {
    check(nu_ >= 1 && nu_ < 2 * widths.key, "dpfp", [&] {
      return Complaint{
          "expected 1 to " + std::to_string(2 * widths.key - 1) + " neighbours, got " + std::to_string(nu_),
          "use 1, 2 or 3"};
    });
  }

 private:
  Traits kind_traits() const override { return any_way(); }
  void features(ScanOperands& o) const override {
    o.q = dpfp_features(o.q, nu_);
    o.k = dpfp_features(o.k, nu_);
    o.normalize = true;
  }
  int64_t nu_;
};

}  // namespace heed::nn
