// Window, global and random blocks.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <algorithm>

namespace heed::nn {

/// In blocks of `block` positions: a block sees `window` blocks to each side, the first `globals`, `random` blocks
/// before it, which the layer's number draws once for all, and those that drew it; the first `globals` see everything
/// (Zaheer et al., "Big Bird", 2020). Random links make paths between any two positions short, so that with the globals
/// it can express what full attention can. Time T·block·(window + globals + random)·dim. In short sequences random
/// blocks gain nothing.
class BigBird final : public Part {
 public:
  struct Config {
    int64_t block = 64, window = 1, globals = 1, random = 2;
    void visit(ConfigVisitor& v) {
      v.field("block", block, "positions of a block");
      v.field("window", window, "blocks seen to each side");
      v.field("globals", globals, "first blocks that all see");
      v.field("random", random, "further blocks, by chance");
    }
  };
  BigBird(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "big-bird", "block", own_.block);
    expect_at_least(0, "big-bird", "window", own_.window);
    expect_at_least(0, "big-bird", "count of globals", own_.globals);
    expect_at_least(0, "big-bird", "count of random blocks", own_.random);
  }
  void options(HeadOperands& o) const override {
    Tensor const chosen = draw((o.key_count() + o.dropped + own_.block - 1) / own_.block).to(o.x.device());
    also_sees(o.options, [&](auto at) {
      Symbol const i = block_of(o.position(at.i), own_.block), j = block_of(o.position(at.j), own_.block);
      SymbolMask seen = (abs(i - j) <= double(own_.window)) | (min(i, j) < double(own_.globals));
      for (int64_t r = 0; r < own_.random; ++r)
        seen = seen | (j == read(chosen, {i, double(r)})) | (i == read(chosen, {j, double(r)}));
      return seen;
    });
  }
  Traits traits() const override { return {.cross = false, .equivariant = false, .time = Growth::linear}; }

 private:
  /// [blocks, random]: among the blocks before each, whatever comes behind.
  Tensor draw(int64_t blocks) const {
    Generator generator(uint64_t(config.layer) + 1);
    Tensor const share = rand({blocks, std::max(own_.random, int64_t{1})}, Dtype::f64, generator);
    return floor(share * arange(1, blocks + 1).to(Dtype::f64).unsqueeze(1));
  }
  Config own_;
};

}  // namespace heed::nn
