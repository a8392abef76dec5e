// Attention over channels instead of positions.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>

#include <algorithm>

namespace heed::nn {

/// Σ_t x_t / T [B, 1, dim], of what is there.
inline Tensor position_mean(Tensor const& x, Tensor const& lengths) {
  if (!lengths.defined()) return mean(x, {1}, true);
  return masked::mean(x, valid_positions(lengths, x.size(1)).unsqueeze(2).expand(x.shape()), {1}, true);
}
/// x with zeros behind lengths: what a bias put there is taken away.
inline Tensor only_there(Tensor const& x, Tensor const& lengths) {
  return lengths.defined() ? where(valid_positions(lengths, x.size(1)).unsqueeze(2), x, 0.) : x;
}

/// W₂·relu(W₁·x), W₁ to dim/reduction.
class Squeeze final : public Layer<Squeeze> {
 public:
  Squeeze(int64_t dim, int64_t reduction)
      : fc1(dim, std::max(dim / std::max(reduction, int64_t{1}), int64_t{1})), fc2(fc1.weight.size(0), dim) {}
  Tensor forward(Tensor const& x) const { return fc2(relu(fc1(x))); }
  void visit(Visitor& visitor) override {
    visitor.child("fc1", fc1);
    visitor.child("fc2", fc2);
  }

  Linear fc1, fc2;
};

/// What gates of channels share: x ⊙ σ(gate(mean_T x)): T·dim.
class ChannelGate : public Attention {
 public:
  using Attention::Attention;
  Traits traits() const override { return {.causal = false, .cross = false, .steps = false, .time = Growth::linear}; }

 private:
  /// Logits [B, dim] from means [B, dim].
  virtual Tensor logits(Tensor const& means) const = 0;
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    return x * sigmoid(logits(position_mean(x, context.lengths).squeeze(1))).unsqueeze(1);
  }
};

/// σ(W₂·relu(W₁·mean)): which channels matter, seen from the whole sequence (Hu et al., "Squeeze-and-excitation
/// networks", 2018).
class SqueezeExcite final : public ChannelGate {
 public:
  struct Config {
    int64_t reduction = 4;
    void visit(ConfigVisitor& v) { v.field("reduction", reduction, "the inner width is dim/reduction"); }
  };
  SqueezeExcite(AttentionConfig const& given, Config const& own)
      : ChannelGate(given), squeeze(config.dim, own.reduction) {}
  void visit(Visitor& visitor) override { squeeze.visit(visitor); }

  Squeeze squeeze;

 private:
  Tensor logits(Tensor const& means) const override { return squeeze(means); }
};

/// σ(conv₁(mean)) over neighbouring channels: a gate of `kernel` weights (Wang et al., "ECA-Net", 2020). kernel = 1:
/// one scale before the σ.
class EfficientChannelAttention final : public ChannelGate {
 public:
  struct Config {
    int64_t kernel = 3;
    void visit(ConfigVisitor& v) { v.field("kernel", kernel, "channels that a gate sees; odd"); }
  };
  EfficientChannelAttention(AttentionConfig const& given, Config const& own) : ChannelGate(given) {
    check(own.kernel >= 1 && own.kernel % 2 == 1, "eca", [] {
      return Complaint{"expected an odd kernel", "use 3 or 5"};
    });
    weight = full({1, 1, own.kernel}, 1. / double(own.kernel));
    weight.requires_grad_();
  }
  void visit(Visitor& visitor) override { visitor.parameter("weight", weight); }

  Tensor weight;

 private:
  Tensor logits(Tensor const& means) const override {
    return conv1d(means.unsqueeze(1), weight, {}, {.padding = weight.size(2) / 2}).select(1, 0);
  }
};

/// Attention of features over features: softmax_D(τ_h·q̂ᵀk̂) of unit columns q̂, k̂ over T, applied to v: [D, D] maps,
/// so T·dim·D in time (El-Nouby et al., "XCiT", 2021). For images and series whose length grows.
class CrossCovariance final : public Attention {
 public:
  explicit CrossCovariance(AttentionConfig const& given)
      : Attention(given),
        q_proj(config.dim, config.dim, config.bias),
        k_proj(config.dim, config.dim, config.bias),
        v_proj(config.dim, config.dim, config.bias),
        out_proj(config.dim, config.dim, config.bias),
        temperature(ones({config.heads, 1, 1})) {
    temperature.requires_grad_();
  }
  Traits traits() const override { return {.causal = false, .cross = false, .steps = false, .time = Growth::linear}; }
  void visit(Visitor& visitor) override {
    visitor.child("q_proj", q_proj);
    visitor.child("k_proj", k_proj);
    visitor.child("v_proj", v_proj);
    visitor.child("out_proj", out_proj);
    visitor.parameter("temperature", temperature);
  }

  Linear q_proj, k_proj, v_proj, out_proj;
  Tensor temperature;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    // [B, H, D, T]: padded positions are zeros, and biases must not fill them.
    auto const columns = [&](Linear const& projection) {
      Tensor heads = split_heads(projection(x), config.heads).transpose(2, 3);
      return context.lengths.defined()
                 ? where(valid_positions(context.lengths, x.size(1)).unsqueeze(1).unsqueeze(1), heads, 0.)
                 : heads;
    };
    Tensor const q = normalize(columns(q_proj), 2, -1), k = normalize(columns(k_proj), 2, -1), v = columns(v_proj);
    Tensor const out = core(q * temperature, k, v, {.scale = 1}).out;  // [B, H, D, T]
    return out_proj(join_heads(out.transpose(2, 3)));
  }
};

}  // namespace heed::nn
