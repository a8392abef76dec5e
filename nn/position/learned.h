// Learned absolute positions.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>

#include <string>

namespace heed::nn {

/// x_t + weight_t: one learned vector for each of `block` positions (Gehring et al., 2017; Radford et al., 2019).
/// Nothing is known of positions beyond the block.
class LearnedPosition final : public Part {
 public:
  explicit LearnedPosition(AttentionConfig const& given) : Part(given) {
    check(given.block >= 1, "learned", [] {
      return Complaint{"learned positions need to know the longest sequence", "set block"};
    });
    weight = empty({given.block, given.dim});
    init::normal_(weight, 0.02);
    weight.requires_grad_();
  }
  Tensor embed(Tensor const& x, int64_t past) const override {
    check(past + x.size(1) <= weight.size(0), "learned", [&] {
      return Complaint{
          std::to_string(past + x.size(1)) + " positions exceed the block of " + std::to_string(weight.size(0)),
          "crop the sequence, or build the model with a longer block"};
    });
    return x + weight.slice(0, past, past + x.size(1));
  }
  void visit(Visitor& visitor) override { visitor.parameter("weight", weight); }
  Traits traits() const override { return {.equivariant = false}; }

  Tensor weight;
};

}  // namespace heed::nn
