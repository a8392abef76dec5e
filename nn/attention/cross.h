// Cross-attention.
#pragma once

#include <heed/nn/attention/part.h>

namespace heed::nn {

/// Multi-head attention whose keys and values come from a memory [B, S, dim] of another sequence or modality: T·S·dim
/// (Vaswani et al., 2017, the decoder's). Without a memory it looks at x itself.
class CrossAttention final : public Part {
 public:
  using Part::Part;
  Traits traits() const override { return {.causal = false, .steps = false}; }
};

}  // namespace heed::nn
