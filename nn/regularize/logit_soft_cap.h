// Soft-capped logits (Gemma 2, 2024; Bello et al., 2016): scores cannot grow without bound, so that a softmax cannot
// saturate. In evaluation too, where the model must see what it was trained with.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// cap·tanh(s/cap) in place of every score s.
class LogitSoftCap : public AttentionRegularizer {
 public:
  struct Config {
    double cap = 50;
    void visit(ConfigVisitor& v) { v.field("cap", cap, "scores stay below this; 0: no cap"); }
  };
  explicit LogitSoftCap(Config const& config);

 protected:
  void before(AttentionCall& call) override {
    if (cap_ > 0) call.options.score = call.options.score | soft_cap(cap_);
  }

 private:
  double cap_;
};

}  // namespace heed::nn
