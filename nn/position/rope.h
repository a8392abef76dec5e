// Rotary position embedding.
#pragma once

#include <heed/nn/attention/part.h>

namespace heed::nn {

/// Rotates pairs of features of x [B, H, T, D] by angles (offset + t)·base^(−2i/D), i = 0 … D/2−1, so that q·k depends
/// on the difference of positions alone. Half-split layout: feature i is paired with i + D/2. Angles are computed in
/// f64. Su et al., "RoFormer: Enhanced transformer with rotary position embedding" (2021).
Tensor rope(Tensor const& x, int64_t offset = 0, double base = 10000);

/// rope() of queries and keys.
class Rope final : public Part {
 public:
  struct Config {
    double base = 10000;
    void visit(ConfigVisitor& v) { v.field("base", base, "angles are position·base^(−2i/D)"); }
  };
  Rope(AttentionConfig const& given, Config const& own);
  void project(HeadOperands& o) const override;
  Traits traits() const override { return {.cross = false, .equivariant = false}; }

 private:
  double base_;
};

}  // namespace heed::nn
