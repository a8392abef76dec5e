// Shifted windows.
#pragma once

#include <heed/nn/attention/groups.h>

#include <algorithm>

namespace heed::nn {

/// On a grid of `width` columns read row by row, a position sees the window×window square it is in, plus a learned bias
/// by the difference of rows and of columns; odd layers shift the squares by half a window, so that a stack connects
/// all (Liu et al., "Swin transformer", 2021). Time T·window²·dim. Local vision layers; squares at the borders are cut
/// where the paper wraps and masks, which is the same.
class ShiftedWindow final : public Part {
 public:
  struct Config {
    int64_t window = 7, width = 14;
    bool shift = true;
    void visit(ConfigVisitor& v) {
      v.field("window", window, "rows and columns of a square");
      v.field("width", width, "columns of the grid");
      v.field("shift", shift, "odd layers shift");
    }
  };
  ShiftedWindow(AttentionConfig const& given, Config const& own)
      : Part(given), own_(own), shift_(own.shift && given.layer % 2 == 1 ? own.window / 2 : 0) {
    expect_at_least(1, "swin", "window", own_.window);
    expect_at_least(1, "swin", "width", own_.width);
    bias = zeros({given.heads, 2 * own_.window - 1, 2 * own_.window - 1});
    bias.requires_grad_();
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const t = o.q.size(2), w = own_.width, side = own_.window, h = (t + w - 1) / w;
    Groups groups{side * side, {}};
    for (int64_t top = -shift_; top < h; top += side)
      for (int64_t left = -shift_; left < w; left += side)
        for (int64_t cell = 0; cell < side * side; ++cell) {
          int64_t const y = top + cell / side, x = left + cell % side;
          bool const inside = y >= 0 && x >= 0 && x < w && y * w + x < t;
          groups.places.push_back(inside ? y * w + x : -1);
        }
    return attend_in_groups(o, config.causal, groups, [&](auto s, auto at) {
      Symbol const rows = block_of(at.i, side) - block_of(at.j, side);
      Symbol const columns = at.i - at.j - rows * double(side), edge = double(side - 1);
      return s + read(bias, {at.h, rows + edge, columns + edge});
    });
  }
  void visit(Visitor& visitor) override { visitor.parameter("bias", bias); }
  Traits traits() const override {
    return {.cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }

  Tensor bias;

 private:
  Config own_;
  int64_t shift_;
};

}  // namespace heed::nn
