// Coordinate attention.
#pragma once

#include <heed/nn/attention/channel.h>

#include <algorithm>

namespace heed::nn {

/// x_rc ⊙ σ(W_rows·z_r) ⊙ σ(W_columns·z_c), z = hard_swish(W·[means of rows, means of columns]) on a grid of `width`
/// columns read row by row (Hou et al., "Coordinate attention for efficient mobile network design", 2021): T·dim. A
/// gate of channels that knows where along both axes, which "se" averages away. For small vision models. Only the
/// product of a row's and a column's gate: no single place stands out.
class CoordinateGate final : public Attention {
 public:
  struct Config {
    int64_t width = 16, reduction = 4;
    void visit(ConfigVisitor& v) {
      v.field("width", width, "columns of the grid");
      v.field("reduction", reduction, "the inner width is dim/reduction");
    }
  };
  CoordinateGate(AttentionConfig const& given, Config const& own)
      : Attention(given),
        shared(config.dim, std::max(config.dim / std::max(own.reduction, int64_t{1}), int64_t{1})),
        of_rows(shared.weight.size(0), config.dim),
        of_columns(shared.weight.size(0), config.dim),
        width_(own.width) {
    expect_at_least(1, "coordinate", "width", width_);
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override {
    visitor.child("shared", shared);
    visitor.child("of_rows", of_rows);
    visitor.child("of_columns", of_columns);
  }

  Linear shared, of_rows, of_columns;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const b = x.size(0), t = x.size(1), w = width_, h = (t + w - 1) / w;
    auto const on_grid = [&](Tensor const& of) {
      return pad(of, {0, 0, 0, h * w - t}).view({of.size(0), h, w, of.size(2)});
    };
    Tensor const places = context.lengths.defined() ? valid_positions(context.lengths, t).unsqueeze(2).to(x.dtype())
                                                    : ones({1, t, 1}, x.dtype(), x.device());
    Tensor const there = on_grid(places), grid = on_grid(x);
    auto const gate = [&](int axis, Linear const& last) {
      Tensor const means = sum(grid, {axis}, true) / clamp_min(sum(there, {axis}, true), 1);
      return sigmoid(last(hard_swish(shared(means))));
    };
    return (grid * gate(2, of_rows) * gate(1, of_columns)).view({b, h * w, config.dim}).slice(1, 0, t);
  }
  int64_t width_;
};

}  // namespace heed::nn
