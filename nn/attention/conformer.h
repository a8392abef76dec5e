// Conformer's convolution module.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/channel.h>
#include <heed/nn/attention/convolution.h>
#include <heed/nn/linear.h>
#include <heed/nn/norm.h>

namespace heed::nn {

/// W₂·silu(norm(depthwise(glu(W₁·x)))), a kernel of `kernel` taps for each channel (Gulati et al., "Conformer", 2020;
/// with a layer norm in place of its batch norm, so that sequences and padding stay apart): T·(3·dim + kernel)·dim.
/// Taps stand around the position, or behind it in causal layers, which carry kernel − 1 positions. The local half of a
/// speech model, between its attention layers: alone it sees no further than its kernel.
class ConformerConvolution final : public Attention {
 public:
  struct Config {
    int64_t kernel = 31;
    void visit(ConfigVisitor& v) { v.field("kernel", kernel, "positions that are seen, itself among them; odd"); }
  };
  ConformerConvolution(AttentionConfig const& given, Config const& own)
      : Attention(given),
        in_proj(config.dim, 2 * config.dim, config.bias),
        out_proj(config.dim, config.dim, config.bias),
        norm(config.dim) {
    check(own.kernel >= 1 && own.kernel % 2 == 1, "conformer", [] {
      return Complaint{"expected an odd kernel", "use 31"};
    });
    weight = randn({config.dim, own.kernel}) * (1 / double(own.kernel));
    weight.requires_grad_();
  }
  Traits traits() const override {
    return {.cross = false, .equivariant = false, .time = Growth::linear, .state = Growth::constant};
  }
  std::unique_ptr<AttentionState> make_state(int64_t positions) const override {
    return config.causal ? std::make_unique<RecurrentState>(1) : Attention::make_state(positions);
  }
  void visit(Visitor& visitor) override {
    visitor.child("in_proj", in_proj);
    visitor.parameter("weight", weight);
    visitor.child("norm", norm);
    visitor.child("out_proj", out_proj);
  }

  Linear in_proj, out_proj;
  LayerNorm norm;
  Tensor weight;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    Tensor const gated = only_there(glu(in_proj(x)), context.lengths);
    auto const out = [&](Tensor const& y) { return out_proj(silu(norm(y.transpose(1, 2)))); };
    if (!config.causal) return out(centred_convolution(gated.transpose(1, 2), weight));
    RecurrentState none(1);
    RecurrentState& state = context.state ? state_as<RecurrentState>(*context.state) : none;
    auto const [y, after] = causal_conv1d(gated.transpose(1, 2), weight, {}, state.tensors[0]);
    state.tensors[0] = after;
    state.length += x.size(1);
    return out(y);
  }
};

}  // namespace heed::nn
