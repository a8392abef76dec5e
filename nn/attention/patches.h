// Patches of a series.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/catalogue.h>
#include <heed/nn/linear.h>

#include <string>

namespace heed::nn {

/// Runs of `size` positions become one token, W·[x_t, …, x_{t+size−1}], the tokens go through `inner`, and each comes
/// back as `size` positions (Nie et al., "PatchTST", 2023; Dosovitskiy et al., ViT, 2021): 1/size of inner's length, so
/// 1/size² of a quadratic cost. For series and signals whose single samples mean little. A token holds the future of
/// its first samples, so that it cannot be hidden from them.
class PatchedAttention final : public Attention {
 public:
  struct Config {
    int64_t size = 4;
    std::string inner = "multi-head";
    void visit(ConfigVisitor& v) {
      v.field("size", size, "positions of a patch");
      v.field("inner", inner, "the kind that sees patches, with its defaults");
    }
  };
  PatchedAttention(AttentionConfig const& given, Config const& own)
      : Attention(given),
        size_(own.size),
        join(config.dim * size_, config.dim, config.bias),
        split(config.dim, config.dim * size_, config.bias) {
    expect_at_least(1, "patches", "size", size_);
    AttentionConfig fewer = config;
    fewer.block = (config.block + size_ - 1) / size_;
    inner = make_attention(own.inner, fewer);
  }
  Traits traits() const override {
    Traits const of_inner = inner->traits();
    return {.causal = false,
            .cross = false,
            .steps = false,
            .equivariant = false,
            .lengths = of_inner.lengths,
            .time = of_inner.time,
            .memory = of_inner.memory};
  }
  void visit(Visitor& visitor) override {
    visitor.child("join", join);
    visitor.child("split", split);
    visitor.child("inner", *inner);
  }

 private:
  int64_t size_;

 public:
  Linear join, split;
  std::unique_ptr<Attention> inner;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const b = x.size(0), t = x.size(1), n = (t + size_ - 1) / size_;
    AttentionContext own{};
    if (context.lengths.defined())
      own.lengths = div(context.lengths + (size_ - 1), scalar(size_, Dtype::i64), Rounding::floor);
    Tensor const tokens = join(pad(x, {0, 0, 0, n * size_ - t}).view({b, n, size_ * config.dim}));
    return split((*inner)(tokens, own)).view({b, n * size_, config.dim}).slice(1, 0, t);
  }
};

}  // namespace heed::nn
