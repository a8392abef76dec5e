// Sliding-window attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/part.h>

#include <algorithm>
#include <string>

namespace heed::nn {

/// i − window <= j, and j <= i + window where the future is seen: time T·window·dim, and a cache of `window` positions
/// (Beltagy et al., "Longformer", 2020). A stack of n layers reaches n·window back. For long sequences whose links are
/// local; what lies further is lost unless other layers or sinks carry it.
class SlidingWindow final : public Part {
 public:
  struct Config {
    int64_t window = 128;
    void visit(ConfigVisitor& v) { v.field("window", window, "positions seen to each side"); }
  };
  SlidingWindow(AttentionConfig const& given, Config const& own) : Part(given), window_(own.window) {
    check(window_ >= 0, "sliding", [&] {
      return Complaint{"expected a window of 0 or more keys, got " + std::to_string(window_), "choose how far to see"};
    });
  }
  void options(HeadOperands& o) const override {
    o.options.left = std::min(o.options.left, window_);
    if (!config.causal) o.options.right = std::min(o.options.right, window_);
  }
  void bound(KeyValueCache& cache) const override { cache.window = std::min(cache.window, window_); }
  Traits traits() const override {
    return {.cross = false, .equivariant = false, .time = Growth::linear, .state = Growth::constant};
  }

 private:
  int64_t window_;
};

}  // namespace heed::nn
