// Attention along a tree of means.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/attention/segments.h>

#include <vector>

namespace heed::nn {

/// Positions and the means of `branch` of them, of branch², …, `levels` above: every node sees `window` neighbours on
/// each side of its level, its children and its parent; `levels` + 1 rounds with the same weights, so that what is far
/// passes over the top; positions keep theirs (Liu et al., "Pyraformer", 2022, whose rounds are layers and whose means
/// are convolutions): time T·(window + branch)·dim a round. For long series with cycles within cycles. Means hold the
/// future of their first positions.
class PyramidAttention final : public Attention {
 public:
  struct Config {
    int64_t window = 1, branch = 4, levels = 2;
    void visit(ConfigVisitor& v) {
      v.field("window", window, "neighbours seen to each side, on every level");
      v.field("branch", branch, "nodes that one above stands for");
      v.field("levels", levels, "levels above the positions");
    }
  };
  PyramidAttention(AttentionConfig const& given, Config const& own) : Attention(given), among(config), own_(own) {
    expect_at_least(0, "pyramid", "window", own_.window);
    expect_at_least(2, "pyramid", "branch", own_.branch);
    expect_at_least(0, "pyramid", "count of levels", own_.levels);
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override { visitor.child("among", among); }

  MultiHeadAttention among;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    std::vector<Tensor> nodes{x},
        there{context.lengths.defined() ? valid_positions(context.lengths, x.size(1)).to(x.dtype())
                                        : ones({1, x.size(1)}, x.dtype(), x.device())};
    std::vector<double> level, place;
    int64_t size = 1;
    for (int64_t l = 0; l <= own_.levels; ++l, size *= own_.branch) {
      if (l > 0) {
        RunMeans const above = run_means(x.unsqueeze(1), size, context.lengths);
        nodes.push_back(above.means.squeeze(1));
        there.push_back(above.counts);
      }
      for (int64_t n = 0; n < nodes.back().size(1); ++n) level.push_back(double(l)), place.push_back(double(n));
    }
    int64_t const count = int64_t(level.size());
    Tensor const levels = tensor(level, {count}).to(x.device()), places = tensor(place, {count}).to(x.device());
    Tensor const real = cat(there, 1);
    AttentionContext own{};
    own.sees = [&](auto at) {
      Symbol const up = read(levels, {at.j}) - read(levels, {at.i}), i = read(places, {at.i}), j = read(places, {at.j});
      return (read(real, {at.b, at.j}) > 0.) &
             (((up == 0.) & (abs(i - j) <= double(own_.window))) | ((up == 1.) & (block_of(i, own_.branch) == j)) |
              ((up == -1.) & (block_of(j, own_.branch) == i)));
    };
    Tensor z = cat(nodes, 1);
    Tensor y;
    for (int64_t round = 0; round <= own_.levels; ++round) {
      if (round > 0) z = z + y;
      y = among(z, own);
    }
    return y.slice(1, 0, x.size(1));
  }
  Config own_;
};

}  // namespace heed::nn
