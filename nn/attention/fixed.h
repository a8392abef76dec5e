// Fixed sparse attention.
#pragma once

#include <heed/nn/attention/part.h>

namespace heed::nn {

/// ⌊i / stride⌋ = ⌊j / stride⌋, or j mod stride ≥ stride − summary: every block is seen from within, and its last
/// `summary` positions from everywhere (Child et al., "Sparse transformers", 2019, the fixed pattern). For text, where
/// a stride means nothing. Tiles with a summary count as whole: time T·(stride + 64·⌈summary/64⌉·T/stride)·dim.
class FixedPattern final : public Part {
 public:
  struct Config {
    int64_t stride = 128, summary = 8;
    void visit(ConfigVisitor& v) {
      v.field("stride", stride, "positions of a block");
      v.field("summary", summary, "last positions of a block that all see");
    }
  };
  FixedPattern(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "fixed", "stride", own_.stride);
    expect_at_least(0, "fixed", "summary", own_.summary);
  }
  void options(HeadOperands& o) const override {
    double const stride = double(own_.stride), summary = double(own_.summary);
    also_sees(o.options, [&](auto at) {
      Symbol const i = o.position(at.i), j = o.position(at.j);
      return (block_of(i, own_.stride) == block_of(j, own_.stride)) |
             (within_block(j, own_.stride) >= stride - summary);
    });
  }
  Traits traits() const override { return {.cross = false, .equivariant = false}; }

 private:
  Config own_;
};

}  // namespace heed::nn
