// Attention within buckets that queries and keys are sorted into.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// A query sees the keys of its bucket: of_q [B, H, T], of_k [B, G, S], integers. Both are sorted by bucket first, so
/// that what a bucket holds stands side by side and the core passes over the rest.
inline Attended attend_in_buckets(HeadOperands const& o, bool causal, Tensor const& of_q, Tensor const& of_k) {
  int64_t const t = o.q.size(2), s = o.k.size(2), per_key_head = o.q.size(1) / o.k.size(1);
  auto const sorted = [](Tensor const& x, Tensor const& order) {
    return gather(x, 2, order.unsqueeze(3).expand({x.size(0), x.size(1), x.size(2), x.size(3)}));
  };
  Indexed const by_q = sort(of_q, 2), by_k = sort(of_k, 2);
  AttendOptions options = o.elsewhere();
  options.sees = [&](auto at) {
    Symbol const i = at.i - double(s - t), g = block_of(at.h, per_key_head);
    Symbol const place = read(by_k.indices, {at.b, g, at.j});
    SymbolMask seen = read(by_q.values, {at.b, at.h, i}) == read(by_k.values, {at.b, g, at.j});
    if (causal) seen = seen & (place <= read(by_q.indices, {at.b, at.h, i}) + double(s - t));
    if (o.lengths.defined()) seen = seen & (place < read(o.lengths, {at.b}));
    return seen;
  };
  Attended const seen = core(sorted(o.q, by_q.indices), sorted(o.k, by_k.indices), sorted(o.v, by_k.indices), options);
  Tensor const back = argsort(by_q.indices, 2);
  return {sorted(seen.out, back), gather(seen.lse, 2, back)};
}

}  // namespace heed::nn
