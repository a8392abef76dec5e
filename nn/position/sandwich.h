// Inner products of sinusoids as a bias.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/position/distance.h>

#include <cmath>

namespace heed::nn {

/// s + (Σ_k cos((i − j)·10000^(−2k/d)) − d/2)/(8(h + 1)/H), k = 1 … d/2: the product of two sinusoids, which falls with
/// distance about as a logarithm (Chi et al., "Dissecting transformer length extrapolation", Sandwich, 2023). Without
/// parameters.
class Sandwich final : public Part {
 public:
  struct Config {
    int64_t width = 128;
    void visit(ConfigVisitor& v) { v.field("width", width, "d, of the sinusoids"); }
  };
  Sandwich(AttentionConfig const& given, Config const& own) : Part(given), width_(own.width) {}
  void options(HeadOperands& o) const override {
    std::vector<double> values;
    for (int64_t d = 0; d < o.key_count(); ++d) {
      double sum = -double(width_ / 2);
      for (int64_t k = 1; k <= width_ / 2; ++k)
        sum += std::cos(double(d) * std::pow(10000., -2. * double(k) / double(width_)));
      values.push_back(sum);
    }
    Tensor const product = tensor(values, {int64_t(values.size())}).to(o.q.device());
    double const rate = double(config.heads) / 8;
    then_score(o.options,
               [&](auto s, auto at) { return s + read(product, {abs(at.i - at.j)}) * (rate / (at.h + 1.)); });
  }
  Traits traits() const override { return of_distance(); }

 private:
  int64_t width_;
};

}  // namespace heed::nn
