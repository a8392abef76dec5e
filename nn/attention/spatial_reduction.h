// Reduced keys and values.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// Keys and values are means of `reduction` neighbours, of patches reduction×reduction on a grid of `width` columns
/// read row by row (Wang et al., "Pyramid vision transformer", 2021, with the pooling of its second version): time
/// T²·dim/reduction, /reduction² on a grid. For early layers of vision models, whose positions are many and alike.
class SpatialReduction final : public Part {
 public:
  struct Config {
    int64_t reduction = 2, width = 0;
    void visit(ConfigVisitor& v) {
      v.field("reduction", reduction, "neighbours that become one, of rows and of columns");
      v.field("width", width, "columns of the grid; 0: a sequence");
    }
  };
  SpatialReduction(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "pvt", "reduction", own_.reduction);
    expect_at_least(0, "pvt", "width", own_.width);
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const s = o.k.size(2), w = std::max(own_.width, int64_t{1}), h = (s + w - 1) / w;
    int64_t const down = own_.reduction, across = own_.width ? down : 1;
    int64_t const rows = (h + down - 1) / down, columns = (w + across - 1) / across;
    auto const sums = [&](Tensor const& x) {  // [B, G, S, D] → [B, G, rows·columns, D]
      Tensor const grid = pad(x, {0, 0, 0, h * w - s}).view({x.size(0), x.size(1), h, w, x.size(3)});
      Tensor const whole = pad(grid, {0, 0, 0, columns * across - w, 0, rows * down - h});
      return sum(whole.view({x.size(0), x.size(1), rows, down, columns, across, x.size(3)}), {3, 5})
          .view({x.size(0), x.size(1), rows * columns, x.size(3)});
    };
    Tensor const there = o.lengths.defined() ? valid_positions(o.lengths, s).view({-1, 1, s, 1})
                                             : full({1, 1, s, 1}, true, Dtype::boolean).to(o.k.device());
    Tensor const counts = sums(there.to(o.k.dtype()));
    auto const means = [&](Tensor const& x) { return sums(where(there, x, 0.)) / clamp_min(counts, 1.); };
    AttendOptions options = o.elsewhere();
    if (o.lengths.defined() || h * w != s)  // patches of nothing
      options.sees = [&](auto at) { return read(counts, {at.b, 0, at.j, 0}) > 0.; };
    return core(o.q, means(o.k), means(o.v), options);
  }
  Traits traits() const override { return {.causal = false, .steps = false, .equivariant = false}; }

 private:
  Config own_;
};

}  // namespace heed::nn
