// Cosine scores.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>

namespace heed::nn {

/// τ_h·cos(q, k), τ_h learned from log2(L² − L), L the block, or 10 where it is not known (Henry et al., "Query-key
/// normalization for transformers", 2020). Scores cannot grow with the norms of q and k, so that attention cannot
/// saturate by them; costs two norms.
class QkNorm final : public Part {
 public:
  explicit QkNorm(AttentionConfig const& given) : Part(given) {
    double const block = double(given.block);
    scale = full({given.heads}, given.block >= 2 ? std::log2(block * block - block) : 10.);
    scale.requires_grad_();
  }
  void project(HeadOperands& o) const override {
    // rms_norm gives vectors of length √D.
    constexpr double tiny = 1e-24;
    o.q = rms_norm(o.q, {}, tiny) * scale.reshape({config.heads, 1, 1});
    o.k = rms_norm(o.k, {}, tiny);
  }
  void options(HeadOperands& o) const override { o.options.scale = 1. / double(config.head_dim()); }
  void visit(Visitor& visitor) override { visitor.parameter("scale", scale); }

  Tensor scale;
};

}  // namespace heed::nn
