// Exact nearby, averaged far away.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/attention/segments.h>

namespace heed::nn {

/// Level 0 sees single keys of the own block and its neighbours; level l sees means of 2^l keys, in blocks of `block`
/// means: neighbours of the own one whose halves were none of level l − 1. Every key is seen once, the farther the
/// coarser; a mean of n keys counts n times, and the levels are merged (Zhu and Soricut, "H-Transformer-1D", 2021, with
/// queries kept whole so that the future stays hidden): time T·block·log(T/block)·dim. For long sequences in which
/// detail matters nearby. Distant single positions are lost in their means.
class HierarchicalMatrix final : public Part {
 public:
  struct Config {
    int64_t block = 16;
    void visit(ConfigVisitor& v) { v.field("block", block, "keys of a block; even"); }
  };
  HierarchicalMatrix(AttentionConfig const& given, Config const& own) : Part(given), block_(own.block) {
    check(block_ >= 2 && block_ % 2 == 0, "h-transformer-1d", [&] {
      return Complaint{"expected an even block of 2 or more, got " + std::to_string(block_), "choose an even number"};
    });
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const s = o.k.size(2);
    AttendOptions options = o.elsewhere();
    options.causal = config.causal;
    options.sees = [&](auto at) { return abs(block_of(at.i, block_) - block_of(at.j, block_)) <= 1.; };
    if (o.lengths.defined()) also_sees(options, lengths(o.lengths));
    Attended seen = core(o.q, o.k, o.v, options);
    for (int64_t size = 2; s > size * block_; size *= 2) {
      auto const [k, counts] = run_means(o.k, size, o.lengths);
      Tensor const v = run_means(o.v, size, o.lengths).means, weight = log(counts);
      double const past = double(s - k.size(2));  // at.i counts queries level with the last mean
      AttendOptions coarse = o.elsewhere();
      coarse.sees = [&](auto at) {
        Symbol const i = at.i + past;
        Symbol const halves = block_of(i, size * block_ / 2) - block_of(at.j, block_ / 2);
        return (abs(block_of(i, size * block_) - block_of(at.j, block_)) <= 1.) &
               ((config.causal ? halves : abs(halves)) >= 2.) & (read(counts, {at.b, at.j}) > 0.);
      };
      coarse.score = [&](auto score, auto at) { return score + read(weight, {at.b, at.j}); };
      seen = merge(seen, core(o.q, k, v, coarse));
    }
    return seen;
  }
  Traits traits() const override {
    return {.cross = false, .steps = false, .equivariant = false, .time = Growth::subquadratic};
  }

 private:
  int64_t block_;
};

}  // namespace heed::nn
