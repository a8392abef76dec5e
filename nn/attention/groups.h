// Attention within groups of positions that do not stand side by side.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace heed::nn {

/// Groups of `size` places each, one after the other; ascending within each, −1 for an empty place.
struct Groups {
  int64_t size;
  std::vector<int64_t> places;
};

/// The core within groups of the T positions of q, k and v, which become sequences of a batch: a position in no group
/// gets 0, and −∞ for its log-sum-exp. `score` and `sees` are told places of groups. At most one group holds a
/// position.
inline Attended attend_in_groups(HeadOperands const& o, bool causal, Groups const& groups, ScoreMod const& score = {},
                                 MaskMod const& sees = {}) {
  int64_t const t = o.q.size(2), size = groups.size, slots = int64_t(groups.places.size()), n = slots / size;
  std::vector<int64_t> source(groups.places), slot_of(size_t(t), slots);
  std::vector<double> position(groups.places.begin(), groups.places.end());
  for (int64_t slot = 0; slot < slots; ++slot) {
    int64_t& place = source[size_t(slot)];
    if (place >= 0)
      slot_of[size_t(place)] = slot;
    else
      position[size_t(slot)] = double(t), place = 0;
  }
  auto const there = [&](auto const& values, Shape const& shape) { return tensor(values, shape).to(o.q.device()); };
  Tensor const from = there(source, {slots}), back = there(slot_of, {t}), at_place = there(position, {n, size});

  int64_t const b = o.q.size(0);
  auto const grouped = [&](Tensor const& x) {  // [B, H, T, D] → [B·n, H, size, D]
    return index_select(x, 2, from)
        .view({b, x.size(1), n, size, x.size(3)})
        .transpose(1, 2)
        .reshape({b * n, x.size(1), size, x.size(3)});
  };
  AttendOptions options = o.elsewhere();
  options.causal = causal;
  options.score = score;
  options.sees = [&](auto at) {
    Symbol const sequence = block_of(at.b, n);
    Symbol const end = o.lengths.defined() ? read(o.lengths, {sequence}) : Symbol(t);
    return read(at_place, {at.b - sequence * double(n), at.j}) < end;
  };
  if (sees) also_sees(options, sees);
  Attended const seen = core(grouped(o.q), grouped(o.k), grouped(o.v), options);

  bool const all = std::find(slot_of.begin(), slot_of.end(), slots) == slot_of.end();
  auto const ungrouped = [&](Tensor const& x, double missing) {  // [B·n, H, size, E] → [B, H, T, E]
    int64_t const h = x.size(1), e = x.size(3);
    Tensor y = x.view({b, n, h, size, e}).transpose(1, 2).reshape({b, h, slots, e});
    if (!all) y = cat({y, full({b, h, 1, e}, missing, y.dtype(), y.device())}, 2);
    return index_select(y, 2, back);
  };
  return {ungrouped(seen.out, 0),
          ungrouped(seen.lse.unsqueeze(3), -std::numeric_limits<double>::infinity()).squeeze(3)};
}

}  // namespace heed::nn
