// A learned sink.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// exp(s)/(exp(b_h) + Σ exp(s)), b_h learned from 0: each head chooses how much of its weight goes nowhere, and no
/// position has to be the sink (gpt-oss, OpenAI, 2025). H more parameters, no more time. b_h → −∞ is the softmax.
class LearnedSink final : public Part {
 public:
  explicit LearnedSink(AttentionConfig const& given) : Part(given), logits(zeros({given.heads})) {
    logits.requires_grad_();
  }
  void normalise(HeadOperands& o) const override {
    expect_softmax("sink", o.options);
    o.options.sink = logits;
  }
  void visit(Visitor& visitor) override { visitor.parameter("logits", logits); }

  Tensor logits;
};

}  // namespace heed::nn
