// Neighborhood attention.
#pragma once

#include <heed/nn/attention/part.h>

namespace heed::nn {

/// Every position sees its `size` nearest, or size×size on a grid of `width` columns read row by row; at the borders
/// the neighbourhood moves inwards, so that all see as many (Hassani et al., "Neighborhood attention transformer",
/// 2023). A convolution's locality with attention's weights: time T·size·dim, on a grid T·size·width·dim. A grid
/// smaller than `size` is seen as a whole.
class Neighborhood final : public Part {
 public:
  struct Config {
    int64_t size = 7, width = 0;
    void visit(ConfigVisitor& v) {
      v.field("size", size, "nearest positions seen, of rows and of columns");
      v.field("width", width, "columns of the grid; 0: a sequence");
    }
  };
  Neighborhood(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "neighborhood", "size", own_.size);
    expect_at_least(0, "neighborhood", "width", own_.width);
  }
  void options(HeadOperands& o) const override {
    int64_t const width = own_.width;
    double const size = double(own_.size), before = double((own_.size - 1) / 2);
    auto const near = [&](Symbol i, Symbol j, Symbol extent) {
      Symbol const first = max(min(i - before, extent - size), 0.);
      return (j >= first) & (j < first + size);
    };
    also_sees(o.options, [&](auto at) {
      Symbol const t = o.lengths.defined() ? read(o.lengths, {at.b}) : Symbol(o.key_count());
      if (width == 0) return near(at.i, at.j, t);
      Symbol const row_i = block_of(at.i, width), row_j = block_of(at.j, width);
      return near(row_i, row_j, ceil(t / double(width))) &
             near(at.i - row_i * double(width), at.j - row_j * double(width), width);
    });
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }

 private:
  Config own_;
};

}  // namespace heed::nn
