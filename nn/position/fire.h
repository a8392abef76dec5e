// Interpolated functions of distances.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/init.h>
#include <heed/nn/position/distance.h>

#include <cmath>

namespace heed::nn {

/// s + f_h(log(1 + c·(i − j))/log(1 + c·max(i, L))), f an MLP of one hidden layer, c and L learned: distances as a
/// share of what can be seen, so that longer sequences stay in the range that training knew (Li et al., "Functional
/// interpolation for relative positions", FIRE, 2023). It runs inside the core, `hidden` products for each pair and
/// head, some forty times the time of multi-head for 32. Causal.
class Fire final : public Part {
 public:
  struct Config {
    int64_t hidden = 32;
    double threshold = 512;
    void visit(ConfigVisitor& v) {
      v.field("hidden", hidden, "width of the MLP");
      v.field("threshold", threshold, "L at the start: shorter contexts count as so long");
    }
  };
  Fire(AttentionConfig const& given, Config const& own)
      : Part(given), scale(full({1}, 0.1)), threshold(full({1}, own.threshold)) {
    check(own.hidden >= 1 && own.threshold > 0, "fire", [] {
      return Complaint{"expected 1 hidden unit or more and a positive threshold", "32 and 512 are usual"};
    });
    weight1 = empty({own.hidden});
    bias1 = empty({own.hidden});
    weight2 = empty({given.heads, own.hidden});
    init::normal_(weight1, 1);
    init::uniform_(bias1, -1, 1);
    init::normal_(weight2, 1 / std::sqrt(double(own.hidden)));
    for (Tensor* t : {&scale, &threshold, &weight1, &bias1, &weight2}) t->requires_grad_();
  }
  void options(HeadOperands& o) const override {
    then_score(o.options, [&](auto s, auto at) {
      auto const c = abs(read(scale, {0.})), l = abs(read(threshold, {0.}));
      auto const x = log(1. + c * abs(at.i - at.j)) / log(1. + c * max(o.position(at.i), l));
      auto sum = s;
      for (int64_t u = 0; u < weight1.size(0); ++u) {
        double const unit = double(u);
        sum = sum + read(weight2, {at.h, unit}) * max(read(weight1, {unit}) * x + read(bias1, {unit}), 0.);
      }
      return sum;
    });
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("scale", scale);
    visitor.parameter("threshold", threshold);
    visitor.parameter("weight1", weight1);
    visitor.parameter("bias1", bias1);
    visitor.parameter("weight2", weight2);
  }
  Traits traits() const override { return {.bidirectional = false, .cross = false, .equivariant = false}; }

  Tensor scale, threshold;
  Tensor weight1, bias1, weight2;
};

}  // namespace heed::nn
