// A bias from logarithmic coordinates.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/linear.h>
#include <heed/nn/position/distance.h>

#include <cmath>

namespace heed::nn {

/// s + 16σ(MLP(Δ̂)), Δ̂ = sign(Δ)·log2(1 + |Δ|)/3 for rows and columns of a grid of `width` columns: a small network
/// gives the table of all differences, and gives it for grids that it was not trained on (Liu et al., "Swin transformer
/// V2", 2022). With width 0 positions are on a line.
class LogCpb final : public Part {
 public:
  struct Config {
    int64_t width = 0, hidden = 64;
    void visit(ConfigVisitor& v) {
      v.field("width", width, "columns of the grid; 0: a line");
      v.field("hidden", hidden, "width of the MLP");
    }
  };
  LogCpb(AttentionConfig const& given, Config const& own)
      : Part(given), width_(own.width), fc(2, own.hidden), proj(own.hidden, given.heads, false) {
    check(own.width >= 0 && own.hidden >= 1, "log-cpb", [] {
      return Complaint{"expected a width of 0 or more and 1 hidden unit or more", "choose the grid's columns"};
    });
  }
  void options(HeadOperands& o) const override {
    int64_t const places = o.key_count() + o.dropped, columns = width_ ? width_ : places;
    int64_t const rows = (places + columns - 1) / columns;
    std::vector<double> coordinates;
    auto const squeezed = [](int64_t d) { return std::copysign(std::log2(1 + std::abs(double(d))) / 3, double(d)); };
    for (int64_t r = 1 - rows; r < rows; ++r)
      for (int64_t c = 1 - columns; c < columns; ++c) coordinates.insert(coordinates.end(), {squeezed(r), squeezed(c)});
    Tensor const deltas = tensor(coordinates, {2 * rows - 1, 2 * columns - 1, 2}).to(o.q.dtype()).to(o.q.device());
    Tensor const table = 16. * sigmoid(proj(relu(fc(deltas))));  // [2R − 1, 2C − 1, H]
    then_score(o.options, [&](auto s, auto at) {
      auto const i = o.position(at.i), j = o.position(at.j);
      auto const row_i = block_of(i, columns), row_j = block_of(j, columns);
      auto const row = row_i - row_j, column = (i - row_i * double(columns)) - (j - row_j * double(columns));
      return s + read(table, {row + double(rows - 1), column + double(columns - 1), at.h});
    });
  }
  void visit(Visitor& visitor) override {
    visitor.child("fc", fc);
    visitor.child("proj", proj);
  }
  Traits traits() const override { return of_distance(); }

 private:
  int64_t width_;

 public:
  Linear fc, proj;
};

}  // namespace heed::nn
