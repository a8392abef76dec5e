// Dilated sliding windows.
#pragma once

#include <heed/nn/attention/part.h>

#include <algorithm>

namespace heed::nn {

/// |i − j| ≤ window·dilation and dilation divides i − j: a window with gaps, which reaches `dilation` times as far with
/// as many keys (Beltagy et al., "Longformer", 2020). Upper layers of a stack take it; alone it never mixes positions
/// of different remainders. Tiles hold gaps as well as keys: time T·window·dilation·dim.
class DilatedWindow final : public Part {
 public:
  struct Config {
    int64_t window = 64, dilation = 2;
    void visit(ConfigVisitor& v) {
      v.field("window", window, "keys seen to each side");
      v.field("dilation", dilation, "positions from one to the next");
    }
  };
  DilatedWindow(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(0, "dilated", "window", own_.window);
    expect_at_least(1, "dilated", "dilation", own_.dilation);
  }
  void options(HeadOperands& o) const override {
    also_sees(o.options, [&](auto at) {
      Symbol const apart = abs(o.position(at.i) - o.position(at.j));
      return (apart <= double(reach())) & (within_block(apart, own_.dilation) == 0.);
    });
  }
  void bound(KeyValueCache& cache) const override { cache.window = std::min(cache.window, reach()); }
  Traits traits() const override {
    return {.cross = false, .equivariant = false, .time = Growth::linear, .state = Growth::constant};
  }

 private:
  int64_t reach() const { return own_.window * own_.dilation; }
  Config own_;
};

}  // namespace heed::nn
