// Chunked attention.
#pragma once

#include <heed/nn/attention/part.h>

#include <algorithm>

namespace heed::nn {

/// ⌊i / chunk⌋ = ⌊j / chunk⌋: chunks that know nothing of each other, in time T·chunk·dim and with a cache of a chunk
/// (Qiu et al., "Blockwise self-attention", BlockBERT, 2020; the local layers of Llama 4, 2025). Cheaper than a window
/// of the same reach, and blind across borders: have layers between that see everything.
class Chunked final : public Part {
 public:
  struct Config {
    int64_t chunk = 128;
    void visit(ConfigVisitor& v) { v.field("chunk", chunk, "positions that see each other"); }
  };
  Chunked(AttentionConfig const& given, Config const& own) : Part(given), chunk_(own.chunk) {
    expect_at_least(1, "chunked", "chunk", chunk_);
  }
  void options(HeadOperands& o) const override {
    also_sees(o.options,
              [&](auto at) { return block_of(o.position(at.i), chunk_) == block_of(o.position(at.j), chunk_); });
  }
  void bound(KeyValueCache& cache) const override { cache.window = std::min(cache.window, chunk_ - 1); }
  Traits traits() const override {
    return {.cross = false, .equivariant = false, .time = Growth::linear, .state = Growth::constant};
  }

 private:
  int64_t chunk_;
};

}  // namespace heed::nn
