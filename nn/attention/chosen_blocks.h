// Blocks of keys chosen by their means.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/attention/segments.h>

#include <algorithm>

namespace heed::nn {

/// What a query sees if it chooses among blocks of `size` keys: its own, and the `top` others with the largest
/// q·mean(k). A causal query judges those behind it alone. The choice has no gradient. Memory T·S/size choices.
inline MaskMod chosen_blocks(HeadOperands const& o, int64_t size, int64_t top, bool causal) {
  int64_t const s = o.k.size(2), t = o.q.size(2);
  NoGrad const off;
  Tensor const blocks = run_means(o.k, size, o.lengths).means;
  int64_t const count = blocks.size(2);
  MaskMod others = [&](auto at) {
    Symbol const own = block_of(at.i + double(s - count), size);
    return causal ? at.j < own : at.j != own;
  };
  if (o.lengths.defined())
    others = others & MaskMod([&](auto at) { return at.j * double(size) < read(o.lengths, {at.b}); });
  Tensor const best = top_blocks(dense_scores(o.q, blocks, {.sees = others}), std::min(top, count));
  Tensor const row = arange(s - t, s).to(o.q.device()).unsqueeze(1), at = arange(count).to(o.q.device()) * size;
  Tensor const chosen = best | ((at <= row) & (row < at + size));
  return [&](auto at) { return read(chosen, {at.b, at.h, at.i - double(s - t), block_of(at.j, size)}) != 0.; };
}

}  // namespace heed::nn
