// Kernels of distances.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/position/distance.h>

namespace heed::nn {

/// s − r_h·log(1 + a_h·|i − j|), or s − r_h·|i − j|^(2σ(a_h)) with power: learned kernels that are conditionally
/// positive definite (Chi et al., "KERPLE", 2022). r and a are kept positive by softplus. Like ALiBi, with slopes that
/// flatten.
class Kerple final : public Part {
 public:
  struct Config {
    bool power = false;
    void visit(ConfigVisitor& v) { v.field("power", power, "the power variant in place of the logarithm"); }
  };
  Kerple(AttentionConfig const& given, Config const& own)
      : Part(given), rate(zeros({given.heads})), shape(zeros({given.heads})), power_(own.power) {
    rate.requires_grad_();
    shape.requires_grad_();
  }
  void options(HeadOperands& o) const override {
    Tensor const r = softplus(rate), a = power_ ? 2. * sigmoid(shape) : softplus(shape);
    then_score(o.options, [&](auto s, auto at) {
      auto const away = abs(at.i - at.j), of_head = read(a, {at.h});
      auto const far = power_ ? select(away > 0., exp(of_head * log(max(away, 0.5))), 0.) : log(1. + of_head * away);
      return s - read(r, {at.h}) * far;
    });
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("rate", rate);
    visitor.parameter("shape", shape);
  }
  Traits traits() const override { return of_distance(); }

  Tensor rate, shape;

 private:
  bool power_;
};

}  // namespace heed::nn
