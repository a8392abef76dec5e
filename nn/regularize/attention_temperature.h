// Temperature of attention (Lin et al., 2018; of distillation: Hinton et al., 2015): warm softmaxes spread, cold ones
// choose. Beginning warm and cooling down keeps heads from choosing before they have learnt what to look at.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// Scores divided by a temperature that goes from `from` to `to` in `steps` steps, linearly, and stays there, in
/// evaluation too. 1 and 1 change nothing.
class AttentionTemperature : public AttentionRegularizer {
 public:
  struct Config {
    double from = 2, to = 1;
    int64_t steps = 1000;
    void visit(ConfigVisitor& v) {
      v.field("from", from, "temperature of the first step, above 0");
      v.field("to", to, "temperature at the end, above 0");
      v.field("steps", steps, "steps from one to the other");
    }
  };
  explicit AttentionTemperature(Config const& config);
  void stepped(Module&, int64_t step) override { step_ = step; }
  double temperature() const {
    double const share = config_.steps > 0 ? std::min(double(step_) / double(config_.steps), 1.0) : 1;
    return config_.from + share * (config_.to - config_.from);
  }

 protected:
  void before(AttentionCall& call) override;

 private:
  Config config_;
  int64_t step_ = 0;
};

}  // namespace heed::nn
