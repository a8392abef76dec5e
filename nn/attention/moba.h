// Mixture of block attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/chosen_blocks.h>

namespace heed::nn {

/// A query sees its own block of `block` keys and the `top` blocks whose mean keys it scores highest: q·mean(k) (Lu et
/// al., "MoBA", 2025). The choice has no gradient: what is chosen trains the keys that choose. Time T·(top·block +
/// T/block)·dim where neighbours choose alike, memory of T²/block choices. For long contexts of which each query needs
/// little; short ones are seen as a whole anyway.
class BlockMixture final : public Part {
 public:
  struct Config {
    int64_t block = 64, top = 3;
    void visit(ConfigVisitor& v) {
      v.field("block", block, "keys of a block");
      v.field("top", top, "blocks chosen beside one's own");
    }
  };
  BlockMixture(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "moba", "block", own_.block);
    expect_at_least(0, "moba", "count of blocks", own_.top);
  }
  void options(HeadOperands& o) const override {
    check(o.dropped == 0, "moba", [] {
      return Complaint{"a bounded cache dropped keys of blocks to choose from", "leave out the window beside it"};
    });
    also_sees(o.options, chosen_blocks(o, own_.block, own_.top, config.causal));
  }
  bool spreads() const override { return false; }
  Traits traits() const override { return {.cross = false, .equivariant = false, .memory = Growth::quadratic}; }

 private:
  Config own_;
};

}  // namespace heed::nn
