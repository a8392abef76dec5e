// Sinusoidal positions, on a line and on a grid.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>

namespace heed::nn {

/// sin and cos of position·10000^(−2i/d), neighbours in the width d, in f64; what gives positions `from`, … `to`.
inline Tensor sinusoids(std::vector<double> const& positions, int64_t width, double base = 10000) {
  std::vector<double> values;
  for (double p : positions)
    for (int64_t c = 0; c < width; ++c) {
      double const angle = p * std::pow(base, -double(c - c % 2) / double(width));
      values.push_back(c % 2 ? std::cos(angle) : std::sin(angle));
    }
  return tensor(values, {int64_t(positions.size()), width});
}

/// x_t + sinusoids of t: products of two of them depend on the distance alone (Vaswani et al., 2017). No parameters and
/// no longest sequence, but little is known of positions that training did not reach.
class SinusoidalPosition final : public Part {
 public:
  using Part::Part;
  Tensor embed(Tensor const& x, int64_t past) const override {
    std::vector<double> positions;
    for (int64_t t = 0; t < x.size(1); ++t) positions.push_back(double(past + t));
    return x + sinusoids(positions, config.dim).to(x.dtype()).to(x.device());
  }
  Traits traits() const override { return {.equivariant = false}; }
};

/// x_t + [sinusoids of t's row, of its column] on a grid of `width` columns: for images, read row by row (MAE: He et
/// al., 2022).
class GridSinusoids final : public Part {
 public:
  struct Config {
    int64_t width = 16;
    void visit(ConfigVisitor& v) { v.field("width", width, "columns of the grid"); }
  };
  GridSinusoids(AttentionConfig const& given, Config const& own) : Part(given), width_(own.width) {
    check(own.width >= 1 && given.dim % 4 == 0, "sincos-2d", [] {
      return Complaint{"expected a grid of 1 column or more and a model width that is a multiple of 4", "set width"};
    });
  }
  Tensor embed(Tensor const& x, int64_t past) const override {
    std::vector<double> rows, columns;
    for (int64_t t = past; t < past + x.size(1); ++t) {
      rows.push_back(double(t / width_));
      columns.push_back(double(t % width_));
    }
    int64_t const half = config.dim / 2;
    return x + cat({sinusoids(rows, half), sinusoids(columns, half)}, 1).to(x.dtype()).to(x.device());
  }
  Traits traits() const override { return {.equivariant = false}; }

 private:
  int64_t width_;
};

}  // namespace heed::nn
