// Attention sinks beside a window.
#pragma once

#include <heed/nn/attention/part.h>

#include <algorithm>

namespace heed::nn {

/// i − j ≤ window, or j < sinks: text without end with a cache of window + sinks positions. Softmax models park weight
/// on the first positions and break when a window drops them; kept, they go on (Xiong et al., "Efficient streaming
/// language models with attention sinks", 2024, who also count positions within the cache; here they are absolute).
/// Time T·(window + sinks)·dim. It remembers nothing between sinks and window.
class Streaming final : public Part {
 public:
  struct Config {
    int64_t window = 128, sinks = 4;
    void visit(ConfigVisitor& v) {
      v.field("window", window, "positions seen before one's own");
      v.field("sinks", sinks, "first positions that stay");
    }
  };
  Streaming(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(0, "streaming", "window", own_.window);
    expect_at_least(0, "streaming", "count of sinks", own_.sinks);
  }
  void options(HeadOperands& o) const override {
    double const window = double(own_.window), sinks = double(own_.sinks);
    also_sees(o.options, [&](auto at) {
      Symbol const j = o.position(at.j);
      return (o.position(at.i) - j <= window) | (j < sinks);
    });
  }
  void bound(KeyValueCache& cache) const override {
    cache.window = std::min(cache.window, own_.window);
    cache.sinks = std::max(cache.sinks, own_.sinks);
  }
  Traits traits() const override { return one_way(); }

 private:
  Config own_;
};

}  // namespace heed::nn
