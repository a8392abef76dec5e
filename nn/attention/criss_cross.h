// Criss-cross attention.
#pragma once

#include <heed/nn/attention/groups.h>

#include <algorithm>

namespace heed::nn {

/// On a grid of `width` columns read row by row, a position sees its row and its column in one softmax (Huang et al.,
/// "CCNet", 2019), where "axial" takes them in turns: time T·(width + T/width)·dim, T^1.5 on a square. Two layers
/// connect all. For dense prediction on images. Neighbours across a diagonal are two steps away; what has no grid has
/// no use for it.
class CrissCross final : public Part {
 public:
  struct Config {
    int64_t width = 16;
    void visit(ConfigVisitor& v) { v.field("width", width, "columns of the grid"); }
  };
  CrissCross(AttentionConfig const& given, Config const& own) : Part(given), width_(own.width) {
    expect_at_least(1, "criss-cross", "width", width_);
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const t = o.q.size(2), w = std::min(width_, t), h = (t + w - 1) / w;
    Groups rows{w, {}}, columns{h, {}};
    for (int64_t place = 0; place < h * w; ++place) rows.places.push_back(place < t ? place : -1);
    for (int64_t x = 0; x < w; ++x)
      for (int64_t y = 0; y < h; ++y) columns.places.push_back(y * w + x < t ? y * w + x : -1);
    // Itself a position sees in its row.
    return merge(attend_in_groups(o, config.causal, rows),
                 attend_in_groups(o, config.causal, columns, {}, [](auto at) { return at.i != at.j; }));
  }
  Traits traits() const override { return {.cross = false, .steps = false, .equivariant = false}; }

 private:
  int64_t width_;
};

}  // namespace heed::nn
