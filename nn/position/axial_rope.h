// Rotary positions on a grid.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/position/rope.h>

#include <string>

namespace heed::nn {

/// rope() with several coordinates: pair i turns by coordinate i mod n of a position, (row, column) of a grid of
/// `width` columns, or (frame, row, column) of frames of `height` rows (axial RoPE: Heo et al., 2024; M-RoPE with its
/// sections interleaved: Wang et al., "Qwen2-VL", 2024). Where all coordinates are equal, as those of text, it is
/// rope().
class AxialRope final : public Part {
 public:
  struct Config {
    double base = 10000;
    int64_t width = 0, height = 0;
    void visit(ConfigVisitor& v) {
      v.field("base", base, "angles are coordinate·base^(−2i/D)");
      v.field("width", width, "columns of the grid; 0: text, whose coordinates are all equal");
      v.field("height", height, "rows of a frame; 0: one frame");
    }
  };
  AxialRope(AttentionConfig const& given, Config const& own)
      : Part(given), own_(own), frequencies_(rope_frequencies(given.head_dim() / 2, own.base)) {
    check(own.base > 1 && own.width >= 0 && own.height >= 0 && given.head_dim() % 2 == 0, "axial-rope", [] {
      return Complaint{"expected an even head width, a base above 1, and sizes of 0 or more", "use 10000"};
    });
  }
  void project(HeadOperands& o) const override {
    o.q = turned(o.q, o.past);
    o.k = turned(o.k, o.past);
  }
  Traits traits() const override { return {.cross = false, .equivariant = false}; }

 private:
  Tensor turned(Tensor const& x, int64_t past) const {
    std::vector<double> angles;
    for (int64_t p = past; p < past + x.size(2); ++p) {
      int64_t const row = own_.width ? p / own_.width : p, column = own_.width ? p % own_.width : p;
      int64_t const coordinates[] = {own_.height ? row / own_.height : row, own_.height ? row % own_.height : column,
                                     column};
      size_t const axes = own_.height ? 3 : 2;
      for (size_t i = 0; i < frequencies_.size(); ++i)
        angles.push_back(double(coordinates[i % axes]) * frequencies_[i]);
    }
    return rotate(x, angles);
  }
  Config own_;
  std::vector<double> frequencies_;
};

}  // namespace heed::nn
