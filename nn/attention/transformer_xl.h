// Segments with memory.
#pragma once

#include <heed/nn/attention/part.h>

#include <algorithm>

namespace heed::nn {

/// ⌊i / segment⌋ − memory ≤ ⌊j / segment⌋ ≤ ⌊i / segment⌋: a segment sees itself and the `memory` segments before it,
/// which the cache keeps (Dai et al., "Transformer-XL", 2019; its positions are relative: name some beside it). Time
/// T·memory·segment·dim. n layers reach n·memory segments back. Trained segment by segment, what the cache holds gets
/// no gradients; in one pass it does.
class SegmentMemory final : public Part {
 public:
  struct Config {
    int64_t segment = 128, memory = 1;
    void visit(ConfigVisitor& v) {
      v.field("segment", segment, "positions of a segment");
      v.field("memory", memory, "segments remembered");
    }
  };
  SegmentMemory(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "transformer-xl", "segment", own_.segment);
    expect_at_least(0, "transformer-xl", "memory", own_.memory);
  }
  void options(HeadOperands& o) const override {
    also_sees(o.options, [&](auto at) {
      return block_of(o.position(at.i), own_.segment) - block_of(o.position(at.j), own_.segment) <= double(own_.memory);
    });
  }
  void bound(KeyValueCache& cache) const override {
    cache.window = std::min(cache.window, (own_.memory + 1) * own_.segment - 1);
  }
  Traits traits() const override { return one_way(); }

 private:
  Config own_;
};

}  // namespace heed::nn
