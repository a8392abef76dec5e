// Gated output.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/linear.h>

namespace heed::nn {

/// out ⊙ σ(x·W_g + b): every head may say nothing, so that it need not park its weight on a sink (Qiu et al., "Gated
/// attention for large language models", 2025). Cures sinks and spikes for one more projection.
class GatedOutput final : public Part {
 public:
  explicit GatedOutput(AttentionConfig const& given) : Part(given), gate(given.dim, given.dim, true) {}
  Tensor finish(Tensor const& out, HeadOperands const& o) const override {
    return out * sigmoid(split_heads(gate(o.x), config.heads));
  }
  void visit(Visitor& visitor) override { visitor.child("gate", gate); }

  Linear gate;
};

}  // namespace heed::nn
