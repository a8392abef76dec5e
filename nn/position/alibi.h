// Attention with linear biases.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>

namespace heed::nn {

/// s − m_h·|i − j| with m_h = 2^(−8(h+1)/H), kept fixed (Press et al., "Train short, test long", 2022). For use beyond
/// the lengths that were trained on.
class AlibiPosition final : public Part {
 public:
  struct Config {
    bool learned = false;
    void visit(ConfigVisitor& v) { v.field("learned", learned, "slopes are trained"); }
  };
  AlibiPosition(AttentionConfig const& given, Config const& own) : Part(given), learned_(own.learned) {
    std::vector<double> m(size_t(given.heads));
    for (size_t h = 0; h < m.size(); ++h) m[h] = std::exp2(-8. * double(h + 1) / double(given.heads));
    slopes = tensor(m, {given.heads}).to(Dtype::f32);
    if (learned_) slopes.requires_grad_();
  }
  void options(HeadOperands& o) const override { then_score(o.options, alibi(slopes)); }
  void visit(Visitor& visitor) override {
    if (learned_)
      visitor.parameter("slopes", slopes);
    else
      visitor.buffer("slopes", slopes);
  }
  Traits traits() const override { return {.cross = false, .equivariant = false}; }

  Tensor slopes;

 private:
  bool learned_;
};

}  // namespace heed::nn
