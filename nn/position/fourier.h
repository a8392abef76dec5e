// Fourier features of positions.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>
#include <heed/nn/linear.h>

#include <numbers>

namespace heed::nn {

/// x_t + W·[cos 2π·b·t/L, sin 2π·b·t/L], b drawn from N(0, sigma²) and kept, L the block (Tancik et al., "Fourier
/// features let networks learn high frequency functions", 2020; learned projection: Li et al., 2021). `sigma` says how
/// fine differences of positions are told apart.
class FourierFeatures final : public Part {
 public:
  struct Config {
    int64_t features = 32;
    double sigma = 10;
    void visit(ConfigVisitor& v) {
      v.field("features", features, "frequencies drawn");
      v.field("sigma", sigma, "their standard deviation, cycles a block");
    }
  };
  FourierFeatures(AttentionConfig const& given, Config const& own)
      : Part(given), frequency(empty({own.features})), proj((check_config(own), 2 * own.features), given.dim, false) {
    init::normal_(frequency, own.sigma);
  }
  /// [T, 2·features]
  Tensor features(int64_t past, int64_t t, Dtype dtype) const {
    double const unit = 2 * std::numbers::pi / double(config.block > 0 ? config.block : 1024);
    Tensor const angle =
        (arange(past, past + t, 1, dtype, frequency.device()) * unit).unsqueeze(1) * frequency.to(dtype);
    return cat({cos(angle), sin(angle)}, 1);
  }
  Tensor embed(Tensor const& x, int64_t past) const override {
    Dtype const wide = is_half(x.dtype()) ? Dtype::f32 : x.dtype();
    return x + proj(features(past, x.size(1), wide).to(x.dtype()));
  }
  void visit(Visitor& visitor) override {
    visitor.buffer("frequency", frequency);
    visitor.child("proj", proj);
  }
  Traits traits() const override { return {.equivariant = false}; }

  Tensor frequency;
  Linear proj;

 private:
  static void check_config(Config const& own) {
    check(own.features >= 1 && own.sigma > 0, "fourier", [] {
      return Complaint{"expected 1 feature or more and a positive sigma", "32 and 10 are usual"};
    });
  }
};

}  // namespace heed::nn
