// Kernels that are chosen.
#pragma once

#include <heed/nn/attention/channel.h>
#include <heed/nn/attention/convolution.h>

#include <algorithm>

namespace heed::nn {

/// Σ_n a_n ⊙ u_n: u_n convolutions of each channel by kernels of 3, 5, … taps, a = softmax over n of A_n·relu(W·mean_T
/// Σ u_n): every channel chooses how far it looks (Li et al., "Selective kernel networks", 2019, without its batch
/// norms; kernels along the sequence): T·branches²·dim. For images and series of several scales.
class SelectiveKernel final : public Attention {
 public:
  struct Config {
    int64_t branches = 2, reduction = 4;
    void visit(ConfigVisitor& v) {
      v.field("branches", branches, "kernels, of 3, 5, … taps");
      v.field("reduction", reduction, "the inner width is dim/reduction");
    }
  };
  SelectiveKernel(AttentionConfig const& given, Config const& own)
      : Attention(given),
        fc1(config.dim, std::max(config.dim / std::max(own.reduction, int64_t{1}), int64_t{1})),
        fc2(fc1.weight.size(0), config.dim * std::max(own.branches, int64_t{1})) {
    expect_at_least(1, "sk", "count of branches", own.branches);
    for (int64_t n = 0; n < own.branches; ++n) {
      kernels.push_back(randn({config.dim, 2 * n + 3}) * (1 / double(2 * n + 3)));
      kernels.back().requires_grad_();
    }
  }
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override {
    for (size_t n = 0; n < kernels.size(); ++n) visitor.parameter("kernel" + std::to_string(n), kernels[n]);
    visitor.child("fc1", fc1);
    visitor.child("fc2", fc2);
  }

  std::vector<Tensor> kernels;
  Linear fc1, fc2;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const n = int64_t(kernels.size());
    std::vector<Tensor> seen;
    for (Tensor const& kernel : kernels) seen.push_back(centred_convolution(x.transpose(1, 2), kernel).transpose(1, 2));
    Tensor const u = stack(seen, 1);  // [B, N, T, dim]
    Tensor const all = only_there(sum(u, {1}), context.lengths);
    Tensor const a = softmax(fc2(relu(fc1(position_mean(all, context.lengths)))).view({-1, n, 1, config.dim}), 1);
    return sum(u * a, {1});
  }
};

}  // namespace heed::nn
