// Mixing by convolution and by Fourier transform: what attention is compared with.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/attention.h>
#include <heed/nn/linear.h>

#include <cmath>
#include <vector>

namespace heed::nn {

/// causal_conv1d() with its taps around the position instead of behind it: x [B, C, T], weight [C, K], K odd.
inline Tensor centred_convolution(Tensor const& x, Tensor const& weight) {
  int64_t const ahead = weight.size(1) / 2, t = x.size(2);
  return causal_conv1d(pad(x, {0, ahead}), weight).first.slice(2, ahead, ahead + t);
}

/// Re F_T(F_dim(x)): every position sees every other without a weight to learn, T·log T·dim (Lee-Thorp et al., "FNet",
/// 2022).
class FourierMixing final : public Attention {
 public:
  explicit FourierMixing(AttentionConfig const& given) : Attention(given) {}
  Traits traits() const override {
    return {.causal = false,
            .cross = false,
            .steps = false,
            .equivariant = false,
            .lengths = false,
            .time = Growth::linear};
  }
  void visit(Visitor&) override {}

 private:
  Tensor mix(Tensor const& x, AttentionContext const&) const override {
    Tensor const wide = x.dtype() == Dtype::f64 ? x : x.to(Dtype::f32);
    return fft2(complex(wide), {.axes = {1, 2}}).select(-1, 0).to(x.dtype());
  }
};

/// The mean of `kernel` neighbours minus x: the simplest mixing that trains (Yu et al., "MetaFormer", PoolFormer,
/// 2022). kernel = 1: zero.
class MeanPooling final : public Attention {
 public:
  struct Config {
    int64_t kernel = 3;
    void visit(ConfigVisitor& v) { v.field("kernel", kernel, "neighbours, itself among them; odd"); }
  };
  MeanPooling(AttentionConfig const& given, Config const& own) : Attention(given), kernel_(own.kernel) {
    check(kernel_ >= 1 && kernel_ % 2 == 1, "pool", [] { return Complaint{"expected an odd kernel", "use 3"}; });
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor&) override {}

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const side = kernel_ / 2;
    auto const sums = [&](Tensor const& of) {  // [B, C, T]
      return avg_pool1d(of, kernel_, {.stride = 1, .padding = side, .divisor_override = 1});
    };
    Tensor const there = context.lengths.defined()
                             ? valid_positions(context.lengths, x.size(1)).to(x.dtype()).unsqueeze(1)
                             : ones({1, 1, x.size(1)}).to(x.dtype()).to(x.device());
    Tensor const counts = clamp_min(sums(there), 1);
    return (sums(x.transpose(1, 2).contiguous()) / counts).transpose(1, 2) - x;
  }
  int64_t kernel_;
};

/// A causal convolution along time with a kernel a head, softmax-normalised over its taps: weights that do not depend
/// on what is there (Wu et al., "Pay less attention with lightweight and dynamic convolutions", 2019). T·kernel·dim and
/// a state of kernel − 1 positions; the baseline for "is attention needed at all". kernel = 1: values alone.
class LightweightConvolution final : public Attention {
 public:
  struct Config {
    int64_t kernel = 7;
    void visit(ConfigVisitor& v) { v.field("kernel", kernel, "positions that are seen, itself among them"); }
  };
  LightweightConvolution(AttentionConfig const& given, Config const& own)
      : Attention(given), v_proj(config.dim, config.dim, config.bias), out_proj(config.dim, config.dim, config.bias) {
    check(own.kernel >= 1, "lightweight", [] { return Complaint{"expected a kernel of 1 or more", "use 7"}; });
    weight = zeros({config.heads, own.kernel});
    weight.requires_grad_();
  }
  Traits traits() const override { return one_way(); }
  std::unique_ptr<AttentionState> make_state(int64_t) const override { return std::make_unique<RecurrentState>(1); }
  void visit(Visitor& visitor) override {
    visitor.child("v_proj", v_proj);
    visitor.child("out_proj", out_proj);
    visitor.parameter("weight", weight);
  }

  Linear v_proj, out_proj;
  Tensor weight;  // [heads, kernel]

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    Tensor const taps = repeat_interleave(softmax(weight, -1), config.head_dim(), 0);  // [dim, kernel]
    auto* const state = context.state ? &state_as<RecurrentState>(*context.state) : nullptr;
    auto const [y, after] = causal_conv1d(v_proj(x).transpose(1, 2), taps, {}, state ? state->tensors[0] : Tensor());
    if (state) {
      state->tensors[0] = after;
      state->length += x.size(1);
    }
    return out_proj(y.transpose(1, 2));
  }
};

/// A causal convolution as long as the sequence, its kernel given by exp(−|rate_c|·t)·(a few cosines), by FFT in
/// T·log T·dim: reaches everything, chooses nothing (Li et al., "SGConv", 2022; Poli et al., "Hyena", 2023, gates it).
/// y = gate(x) ⊙ (kernel ∗ v(x)).
class LongConvolution final : public Attention {
 public:
  struct Config {
    int64_t waves = 4;
    void visit(ConfigVisitor& v) { v.field("waves", waves, "cosines that a kernel is made of"); }
  };
  LongConvolution(AttentionConfig const& given, Config const& own)
      : Attention(given),
        v_proj(config.dim, config.dim, config.bias),
        gate(config.dim, config.dim, config.bias),
        out_proj(config.dim, config.dim, config.bias) {
    check(own.waves >= 1, "long-conv", [] { return Complaint{"expected 1 wave or more", "use 4"}; });
    std::vector<double> rates(size_t(config.dim)), turns(size_t(own.waves));
    for (size_t c = 0; c < rates.size(); ++c) rates[c] = std::exp2(-1 - 7 * double(c) / double(rates.size()));
    for (size_t n = 0; n < turns.size(); ++n) turns[n] = 3.14159265358979323846 * double(n) / double(turns.size());
    rate = tensor(rates, {config.dim, 1}).to(Dtype::f32);
    frequency = tensor(turns, {own.waves, 1}).to(Dtype::f32);
    amplitude = randn({config.dim, own.waves}) * (1 / std::sqrt(double(own.waves)));
    for (Tensor* p : {&rate, &frequency, &amplitude}) p->requires_grad_();
  }
  Traits traits() const override {
    return {.bidirectional = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  /// [dim, t]
  Tensor kernel(int64_t t) const {
    Tensor const at = arange(t).to(rate.dtype()).to(rate.device());
    return matmul(amplitude, cos(frequency * at)) * exp(-abs(rate) * at);
  }
  void visit(Visitor& visitor) override {
    visitor.child("v_proj", v_proj);
    visitor.child("gate", gate);
    visitor.child("out_proj", out_proj);
    visitor.parameter("rate", rate);
    visitor.parameter("frequency", frequency);
    visitor.parameter("amplitude", amplitude);
  }

  Linear v_proj, gate, out_proj;
  Tensor rate, frequency, amplitude;

 private:
  Tensor mix(Tensor const& x, AttentionContext const&) const override {
    Dtype const wide = x.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32;
    Tensor const y = fft_convolve(v_proj(x).transpose(1, 2).to(wide), kernel(x.size(1)).to(wide)).to(x.dtype());
    return out_proj(silu(gate(x)) * y.transpose(1, 2));
  }
};

}  // namespace heed::nn
