// Global positions beside a window.
#pragma once

#include <heed/nn/attention/part.h>

#include <algorithm>

namespace heed::nn {

/// |i − j| ≤ window, or j < globals, or i < globals: the first positions see all and are seen by all, so that any two
/// are two steps apart (Beltagy et al., "Longformer", 2020; Ainslie et al., "ETC", 2020; both give global positions
/// projections of their own, here they share). Time T·(window + globals)·dim. For classification of long texts, where
/// the first position is to gather everything; causal, the globals are what all remember.
class Longformer final : public Part {
 public:
  struct Config {
    int64_t window = 128, globals = 1;
    void visit(ConfigVisitor& v) {
      v.field("window", window, "positions seen to each side");
      v.field("globals", globals, "first positions that all see");
    }
  };
  Longformer(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(0, "longformer", "window", own_.window);
    expect_at_least(0, "longformer", "count of globals", own_.globals);
  }
  void options(HeadOperands& o) const override {
    double const window = double(own_.window), globals = double(own_.globals);
    also_sees(o.options, [&](auto at) {
      Symbol const i = o.position(at.i), j = o.position(at.j);
      return (abs(i - j) <= window) | (min(i, j) < globals);
    });
  }
  void bound(KeyValueCache& cache) const override {
    cache.window = std::min(cache.window, own_.window);
    cache.sinks = std::max(cache.sinks, own_.globals);
  }
  Traits traits() const override {
    return {.cross = false, .equivariant = false, .time = Growth::linear, .state = Growth::constant};
  }

 private:
  Config own_;
};

}  // namespace heed::nn
