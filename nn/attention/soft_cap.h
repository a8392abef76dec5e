// Capped scores.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// cap·tanh(s/cap): no score exceeds the cap, so that no row can saturate (Gemma 2, 2024). A tanh for each pair; at the
/// cap gradients vanish.
class SoftCap final : public Part {
 public:
  struct Config {
    double cap = 50;
    void visit(ConfigVisitor& v) { v.field("cap", cap, "the largest score"); }
  };
  SoftCap(AttentionConfig const& given, Config const& own) : Part(given), score_(soft_cap(own.cap)) {}
  void options(HeadOperands& o) const override { then_score(o.options, score_); }

 private:
  ScoreMod score_;
};

}  // namespace heed::nn
