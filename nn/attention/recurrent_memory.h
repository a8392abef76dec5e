// Memory tokens from segment to segment.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/init.h>

#include <algorithm>
#include <vector>

namespace heed::nn {

/// Segments one after the other: attention over [memory, segment, memory], whose first copy is read and whose last
/// becomes the next segment's memory (Bulatov et al., "Recurrent memory transformer", 2022, within one layer): time
/// T·segment·dim, and nothing but `tokens` vectors passes on, where "transformer-xl" keeps whole segments. For texts
/// much longer than what must be remembered of them. Segments wait for each other; gradients run back through all.
class RecurrentMemory final : public Attention {
 public:
  struct Config {
    int64_t segment = 128, tokens = 8;
    void visit(ConfigVisitor& v) {
      v.field("segment", segment, "positions of a segment");
      v.field("tokens", tokens, "vectors that pass from segment to segment; 0: none");
    }
  };
  RecurrentMemory(AttentionConfig const& given, Config const& own) : Attention(given), within(config), own_(own) {
    expect_at_least(1, "rmt", "segment", own_.segment);
    expect_at_least(0, "rmt", "count of tokens", own_.tokens);
    memory = empty({1, own_.tokens, config.dim});
    init::normal_(memory, 1);
    memory.requires_grad_();
  }
  Traits traits() const override {
    return {.bidirectional = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("memory", memory);
    visitor.child("within", within);
  }

  Tensor memory;
  MultiHeadAttention within;

 private:
  Tensor mix(Tensor const& x, AttentionContext const&) const override {
    int64_t const t = x.size(1), m = own_.tokens;
    Tensor carried = memory.expand({x.size(0), m, config.dim});
    std::vector<Tensor> parts;
    for (int64_t from = 0; from < t; from += own_.segment) {
      int64_t const n = std::min(own_.segment, t - from);
      Tensor const y = within(cat({carried, x.slice(1, from, from + n), carried}, 1));
      parts.push_back(y.slice(1, m, m + n));
      carried = y.slice(1, m + n, m + n + m);
    }
    return cat(parts, 1);
  }
  Config own_;
};

}  // namespace heed::nn
