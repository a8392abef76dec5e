// Several delta steps a position.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/scan_attention.h>

#include <string>

namespace heed::nn {

/// The delta rule `steps` times a position, with keys, values and β of their own, β up to 2 if `reflect`: a product of
/// n Householder factors, which can permute what the state holds (Siems et al., "DeltaProduct", 2025; β to 2: Grazzi et
/// al., 2024). For tasks that must track states; n times the time of delta.
class DeltaProduct final : public ScanAttention {
 public:
  struct Config {
    int64_t steps = 2;
    bool reflect = false;
    ScanSettings around = {.conv = 4, .norm = true};
    void visit(ConfigVisitor& v) {
      v.field("steps", steps, "of the delta rule a position");
      v.field("reflect", reflect, "β in (0, 2): eigenvalues down to −1");
      around.visit(v);
    }
  };
  DeltaProduct(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around,
                      {.key_heads = positive(own.steps) * checked(given).kv_heads,
                       .value_heads = own.steps * checked(given).kv_heads}),
        beta(config.dim, widths.key_heads, false),
        steps_(own.steps),
        largest_(own.reflect ? 2 : 1) {}
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.child("beta", beta);
  }

  Linear beta;

 private:
  static int64_t positive(int64_t steps) {
    check(steps >= 1, "deltaproduct", [&] {
      return Complaint{"expected 1 step or more, got " + std::to_string(steps), "use 2 or 3"};
    });
    return steps;
  }
  /// [B, n·G, T, ..] → [B, G, T·n, ..]: a head's steps of a position one after the other.
  Tensor in_a_row(Tensor const& x) const {
    Tensor const apart = x.reshape({x.size(0), steps_, config.kv_heads, x.size(2), x.size(3)});
    return apart.permute({0, 2, 3, 1, 4}).reshape({x.size(0), config.kv_heads, x.size(2) * steps_, x.size(3)});
  }
  void features(ScanOperands& o) const override {
    o.q = repeat_interleave(unit(o.q), steps_, 2);
    o.k = in_a_row(unit(o.k));
    o.v = in_a_row(o.v);
    o.steps = steps_;
    o.beta = in_a_row(sigmoid(by_head(beta(o.x))).unsqueeze(-1)).squeeze(-1) * largest_;
  }
  Tensor finish(Tensor const& out, ScanOperands const&) const override {
    return out.slice(2, steps_ - 1, out.size(2), steps_);
  }
  int64_t steps_;
  double largest_;
};

}  // namespace heed::nn
