// Positive random features.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/scan_attention.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace heed::nn {

/// `rows` random directions [rows, d], orthogonal in groups of d, as long as normal vectors are.
inline Tensor orthogonal_features(int64_t rows, int64_t d) {
  std::vector<Tensor> blocks;
  for (int64_t at = 0; at < rows; at += d) {
    auto const [q, r] = qr(randn({d, d}, Dtype::f64));
    // With these signs q is uniform among the orthogonal matrices (Mezzadri, 2007).
    blocks.push_back((q * sign(diagonal(r))).t().slice(0, 0, std::min(d, rows - at)));
  }
  Tensor const lengths = sqrt(sum(square(randn({rows, d}, Dtype::f64)), {1}, true));
  return (cat(blocks, 0) * lengths).to(Dtype::f32);
}

/// Linear attention with φ(x) = exp(W·x/D^¼ − |x|²/(2√D))/√m, W random [m, D]: φ(q)·φ(k) is exp(q·k/√D) on average, its
/// error ∝ 1/√m (Choromanski et al., "Rethinking attention with performers", 2021, FAVOR+). Queries are scaled by their
/// largest feature, which cancels. For softmax's shape at linear cost; where scores are large the error is, too. W is a
/// buffer.
class Performer final : public ScanAttention {
 public:
  struct Config {
    int64_t features = 0;
    ScanSettings around = {};
    void visit(ConfigVisitor& v) {
      v.field("features", features, "random features m; 0: twice the width of a head");
      around.visit(v);
    }
  };
  Performer(AttentionConfig const& given, Config const& own) : ScanAttention(given, own.around) {
    check(own.features >= 0, "performer", [&] {
      return Complaint{"expected random features, got " + std::to_string(own.features), "0 gives two for each feature"};
    });
    directions = orthogonal_features(own.features ? own.features : 2 * widths.key, widths.key);
  }
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.buffer("directions", directions);
  }
  /// φ [B, H, T, m] of x [B, H, T, D]; `steady`: divided by each row's largest.
  Tensor phi(Tensor const& x, bool steady) const {
    Tensor const scaled = x * std::pow(double(widths.key), -0.25);
    Tensor logits = matmul(scaled, directions.to(x.dtype()).t()) - sum(square(scaled), {-1}, true) * 0.5;
    if (steady) logits = logits - amax(logits.detach(), {-1}, true);
    return exp(logits) * (1 / std::sqrt(double(directions.size(0))));
  }

  Tensor directions;  // [m, D]

 private:
  Traits kind_traits() const override { return any_way(); }
  void features(ScanOperands& o) const override {
    o.q = phi(o.q, true);
    o.k = phi(o.k, false);
    o.normalize = true;
  }
};

}  // namespace heed::nn
