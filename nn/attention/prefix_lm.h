// Prefix language models.
#pragma once

#include <heed/nn/attention/part.h>

namespace heed::nn {

/// j ≤ i or j < prefix: the first `prefix` positions see each other both ways, the rest look back (Raffel et al., "T5",
/// 2020). For inputs that are known before anything is to be said. Prefixes that differ within a batch go into
/// AttentionContext::sees as prefix(lengths). The prefix sees its own future, so that the layer is built with
/// causal = false and a cache cannot take it apart.
class PrefixLm final : public Part {
 public:
  struct Config {
    int64_t prefix = 16;
    void visit(ConfigVisitor& v) { v.field("prefix", prefix, "positions that all see"); }
  };
  PrefixLm(AttentionConfig const& given, Config const& own) : Part(given), prefix_(own.prefix) {
    expect_at_least(0, "prefix-lm", "prefix", prefix_);
  }
  void options(HeadOperands& o) const override {
    also_sees(o.options, [&](auto at) { return (at.j <= at.i) | (at.j < double(prefix_)); });
  }
  Traits traits() const override { return {.causal = false, .cross = false, .steps = false, .equivariant = false}; }

 private:
  int64_t prefix_;
};

}  // namespace heed::nn
