// Queries that compete.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// A_ij = softmax over queries i of s_ij, then rows divided by their sums: queries compete for keys, and every key
/// hands out a weight of 1 (Locatello et al., "Object-centric learning with slot attention", 2020). As exp(s_ij − c_j),
/// c_j = log Σ_i exp(s_ij), normalised over keys, it takes two passes of the core and no map: time 2·T·S·dim, memory
/// T·dim. Splits a set among queries, no key is ignored and none collects all weight; a query may win nothing, and gets
/// the mean of what it lost least. It sees all queries at once, so that it cannot hide the future.
class InvertedWeights final : public Part {
 public:
  using Part::Part;
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    AttendOptions of_keys{.scale = o.options.scale}, options = o.elsewhere();
    if (o.query_lengths.defined()) of_keys.sees = lengths(o.query_lengths);
    if (o.lengths.defined()) options.sees = lengths(o.lengths);
    Tensor const k = for_each_head(o.k, config.heads), v = for_each_head(o.v, config.heads);
    Tensor const shared = core(k, o.q, o.q, of_keys).lse;  // [B, H, S]
    options.score = [&](auto s, auto at) { return s - read(shared, {at.b, at.h, at.j}); };
    return core(o.q, k, v, options);
  }
  Traits traits() const override { return {.causal = false, .steps = false}; }
};

}  // namespace heed::nn
