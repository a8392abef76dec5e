// Strided sparse attention.
#pragma once

#include <heed/nn/attention/part.h>

namespace heed::nn {

/// |i − j| < stride, or stride divides i − j: with stride near √T two layers connect everything (Child et al., "Sparse
/// transformers", 2019, the strided pattern). For data with a period, images read row by row with the stride a row.
/// Columns one key wide fill tiles: time T²·dim/stride at best, from strides of a tile (64) on.
class Strided final : public Part {
 public:
  struct Config {
    int64_t stride = 64;
    void visit(ConfigVisitor& v) { v.field("stride", stride, "positions; those apart by multiples see each other"); }
  };
  Strided(AttentionConfig const& given, Config const& own) : Part(given), stride_(own.stride) {
    expect_at_least(1, "strided", "stride", stride_);
  }
  void options(HeadOperands& o) const override {
    double const stride = double(stride_);
    also_sees(o.options, [&](auto at) {
      Symbol const apart = abs(o.position(at.i) - o.position(at.j));
      return (apart < stride) | (within_block(apart, stride_) == 0.);
    });
  }
  Traits traits() const override { return {.cross = false, .equivariant = false}; }

 private:
  int64_t stride_;
};

}  // namespace heed::nn
