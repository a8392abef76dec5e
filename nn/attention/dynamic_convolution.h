// Dynamic convolution.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/linear.h>

namespace heed::nn {

/// y_t = Σ_j softmax_j(W·x_t)_j·v_{t−j}: a causal convolution whose taps each position chooses anew, one set a head (Wu
/// et al., "Pay less attention with lightweight and dynamic convolutions", 2019). T·kernel·dim and a state of kernel −
/// 1 positions. Between "lightweight", whose taps are fixed, and attention: what stands there is weighed by its
/// distance alone, and nothing beyond the kernel is seen. kernel = 1: values alone.
class DynamicConvolution final : public Attention {
 public:
  struct Config {
    int64_t kernel = 7;
    void visit(ConfigVisitor& v) { v.field("kernel", kernel, "positions that are seen, itself among them"); }
  };
  DynamicConvolution(AttentionConfig const& given, Config const& own)
      : Attention(given),
        v_proj(config.dim, config.dim, config.bias),
        taps(config.dim, config.heads * own.kernel, config.bias),
        out_proj(config.dim, config.dim, config.bias),
        kernel_(own.kernel) {
    expect_at_least(1, "dynamic", "kernel", kernel_);
  }
  Traits traits() const override { return one_way(); }
  std::unique_ptr<AttentionState> make_state(int64_t) const override { return std::make_unique<RecurrentState>(1); }
  void visit(Visitor& visitor) override {
    visitor.child("v_proj", v_proj);
    visitor.child("taps", taps);
    visitor.child("out_proj", out_proj);
  }

  Linear v_proj, taps, out_proj;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const b = x.size(0), t = x.size(1), h = config.heads, d = config.head_dim();
    auto* const state = context.state ? &state_as<RecurrentState>(*context.state) : nullptr;
    Tensor const v = v_proj(x), all = state && state->tensors[0].defined() ? cat({state->tensors[0], v}, 1)
                                                                           : pad(v, {0, 0, kernel_ - 1, 0});
    if (state) {
      state->tensors[0] = all.slice(1, t, t + kernel_ - 1).clone();
      state->length += t;
    }
    Tensor const weight = softmax(taps(x).view({b, t, h, kernel_}), -1);
    Tensor y;
    for (int64_t j = 0; j < kernel_; ++j) {
      Tensor const term = all.slice(1, j, j + t).view({b, t, h, d}) * weight.slice(3, j, j + 1);
      y = y.defined() ? y + term : term;
    }
    return out_proj(y.reshape({b, t, config.dim}));
  }
  int64_t kernel_;
};

}  // namespace heed::nn
