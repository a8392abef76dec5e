// Forgetful causal masking (Liu et al., 2022): past tokens are hidden at random, from all queries and layers alike, so
// that a language model cannot live on the few last ones. Language models; in layers that are not causal it hides
// future tokens as well.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// Key j of sequence b is hidden with probability r_b, r_b ~ U(0, rate), from every query but its own; the first key
/// never. One draw a batch: batch() makes the next.
class ForgetfulMask : public AttentionRegularizer {
 public:
  struct Config {
    double rate = 0.15;
    void visit(ConfigVisitor& v) { v.field("rate", rate, "largest share of the tokens that is hidden, 0 to below 1"); }
  };
  explicit ForgetfulMask(Config const& config)
      : rate_(checked_share("forgetful-mask", config.rate)), draw_(default_generator().next()) {}
  void batch(Tensor&, Tensor&, Generator& generator) override { draw_ = generator.next(); }

 protected:
  void before(AttentionCall& call) override;

 private:
  double rate_;
  Draw draw_;
};

}  // namespace heed::nn
