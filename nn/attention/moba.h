// Mixture of block attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/attention/segments.h>

#include <algorithm>

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
    int64_t const s = o.k.size(2), t = o.q.size(2), size = own_.block;
    Tensor chosen;
    {
      NoGrad const off;
      Tensor const blocks = run_means(o.k, size, o.lengths).means;
      int64_t const count = blocks.size(2);
      // A causal query judges what lies behind it; its own block is seen anyway.
      bool const causal = config.causal;
      MaskMod others = [&](auto at) {
        Symbol const own = block_of(at.i + double(s - count), size);
        return causal ? at.j < own : at.j != own;
      };
      if (o.lengths.defined())
        others = others & MaskMod([&](auto at) { return at.j * double(size) < read(o.lengths, {at.b}); });
      chosen = top_blocks(dense_scores(o.q, blocks, {.sees = others}), std::min(own_.top, count));
    }
    also_sees(o.options, [&](auto at) {
      Symbol const i = block_of(at.i, size), j = block_of(at.j, size);
      return (i == j) | (read(chosen, {at.b, at.h, at.i - double(s - t), j}) != 0.);
    });
  }
  Traits traits() const override { return {.cross = false, .equivariant = false, .memory = Growth::quadratic}; }

 private:
  Config own_;
};

}  // namespace heed::nn
