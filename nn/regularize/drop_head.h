// DropHead (Zhou et al., "Scheduled DropHead", 2020): whole heads are dropped, so that none becomes the only one that
// matters. Where heads are many; with two it takes half the layer away.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// o_h·keep_bh·H/Σ_h keep_bh for each sequence b, keep ~ Bernoulli(1 − p); where all would go, all stay, so that the
/// mean is o_h.
class DropHead : public AttentionRegularizer {
 public:
  struct Config {
    double p = 0.1;
    void visit(ConfigVisitor& v) { v.field("p", p, "probability of a head to be dropped, 0 to below 1"); }
  };
  explicit DropHead(Config const& config) : p_(checked_share("drophead", config.p)) {}

 protected:
  void after(AttentionCall& call) override;

 private:
  double p_;
};

}  // namespace heed::nn
