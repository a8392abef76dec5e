// Rotary positions that fade.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/position/rope.h>

#include <cmath>

namespace heed::nn {

/// rope() with pair i of queries times ζ_i^(n/512) and of keys times ζ_i^(−n/512), ζ_i = (2i/D + 0.4)/1.4: products
/// fade with distance, the fast pairs first, which keeps long sequences near what was trained (Sun et al., "A
/// length-extrapolatable transformer", 2022). Causal only: towards the future it would grow.
class Xpos final : public Part {
 public:
  struct Config {
    double base = 10000, reach = 512;
    void visit(ConfigVisitor& v) {
      v.field("base", base, "angles are position·base^(−2i/D)");
      v.field("reach", reach, "positions over which a pair fades by its ζ");
    }
  };
  Xpos(AttentionConfig const& given, Config const& own)
      : Part(given), reach_(own.reach), frequencies_(rope_frequencies(given.head_dim() / 2, own.base)) {
    check(own.base > 1 && own.reach > 0 && given.head_dim() % 2 == 0, "xpos", [] {
      return Complaint{"expected an even head width, a base above 1 and a positive reach", "use 10000 and 512"};
    });
  }
  void project(HeadOperands& o) const override {
    auto const turn = [&](Tensor& x, double sign) {
      std::vector<double> angles, amplitudes;
      for (int64_t p = o.past; p < o.past + x.size(2); ++p)
        for (size_t i = 0; i < frequencies_.size(); ++i) {
          double const zeta = (double(i) / double(frequencies_.size()) + 0.4) / 1.4;
          angles.push_back(double(p) * frequencies_[i]);
          amplitudes.push_back(std::pow(zeta, sign * double(p) / reach_));
        }
      x = rotate(x, angles, amplitudes);
    };
    turn(o.q, 1);
    turn(o.k, -1);
  }
  Traits traits() const override { return {.bidirectional = false, .cross = false, .equivariant = false}; }

 private:
  double reach_;
  std::vector<double> frequencies_;
};

}  // namespace heed::nn
