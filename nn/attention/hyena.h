// The Hyena operator.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/linear.h>

#include <cmath>
#include <vector>

namespace heed::nn {

/// x₁ ⊙ (h ∗ (x₂ ⊙ v)), each of x₁, x₂ and v a projection through a causal convolution of three taps; h_c(t) =
/// exp(−|rate_c|·t)·(W₂·sin(W₁·waves(t) + b₁))_c as long as the sequence, by FFT in T·log T·dim (Poli et al., "Hyena
/// hierarchy", 2023, of order 2): gates of the data around a filter that a small network makes, where "long-conv" sums
/// a few cosines and gates once. For very long sequences, as genomes; exact recall is harder than for attention, and
/// there is no state to decode from.
class Hyena final : public Attention {
 public:
  struct Config {
    int64_t waves = 8, hidden = 32;
    void visit(ConfigVisitor& v) {
      v.field("waves", waves, "frequencies by which the filter's network tells positions");
      v.field("hidden", hidden, "width of that network");
    }
  };
  Hyena(AttentionConfig const& given, Config const& own)
      : Attention(given),
        in_proj(config.dim, 3 * config.dim, config.bias),
        out_proj(config.dim, config.dim, config.bias),
        waves_(own.waves) {
    expect_at_least(1, "hyena", "count of waves", waves_);
    expect_at_least(1, "hyena", "hidden width", own.hidden);
    std::vector<double> rates(size_t(config.dim));
    for (size_t c = 0; c < rates.size(); ++c) rates[c] = std::exp2(-1 - 7 * double(c) / double(rates.size()));
    rate = tensor(rates, {config.dim, 1}).to(Dtype::f32);
    taps = randn({3 * config.dim, 3}) * 0.5;
    w1 = randn({own.hidden, 2 * waves_}) * (2 / std::sqrt(double(waves_)));
    b1 = zeros({own.hidden, 1});
    w2 = randn({config.dim, own.hidden}) * (1 / std::sqrt(double(own.hidden)));
    for (Tensor* p : {&taps, &rate, &w1, &b1, &w2}) p->requires_grad_();
  }
  Traits traits() const override {
    return {.bidirectional = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  /// h [dim, t]
  Tensor filter(int64_t t) const {
    Dtype const wide = rate.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32;
    Tensor const at = arange(t).to(wide).to(rate.device());
    Tensor const frequency = exp2(arange(waves_).to(wide).to(rate.device()) * -1.).unsqueeze(1) * at;
    Tensor const inner = matmul(w1.to(wide), cat({sin(frequency), cos(frequency)}, 0)) + b1.to(wide);
    return matmul(w2.to(wide), sin(inner)) * exp(-abs(rate.to(wide)) * at);
  }
  void visit(Visitor& visitor) override {
    visitor.child("in_proj", in_proj);
    visitor.child("out_proj", out_proj);
    visitor.parameter("taps", taps);
    visitor.parameter("rate", rate);
    visitor.parameter("w1", w1);
    visitor.parameter("b1", b1);
    visitor.parameter("w2", w2);
  }

  Linear in_proj, out_proj;
  Tensor taps, rate, w1, b1, w2;

 private:
  Tensor mix(Tensor const& x, AttentionContext const&) const override {
    int64_t const d = config.dim;
    Tensor const three = causal_conv1d(in_proj(x).transpose(1, 2), taps).first;  // [B, 3·dim, T]
    Tensor const h = filter(x.size(1)), inside = three.slice(1, d, 2 * d) * three.slice(1, 2 * d, 3 * d);
    Tensor const y = fft_convolve(inside.to(h.dtype()), h).to(x.dtype());
    return out_proj((three.slice(1, 0, d) * y).transpose(1, 2));
  }
  int64_t waves_;
};

}  // namespace heed::nn
