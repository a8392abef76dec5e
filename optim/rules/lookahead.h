// Lookahead: slow weights that follow the fast ones of any rule. Less variance, less care for the inner rate.
#pragma once

#include <heed/optim/pointwise.h>
#include <heed/optim/wrapper.h>

namespace heed::optim {

struct LookaheadConfig {
  int64_t k = 5;
  double share = 0.5;
  void visit(nn::ConfigVisitor& v) {
    v.field("k", k, "steps of the inner rule between two of the slow weights");
    v.field("share", share, "α of the way that the slow weights go; 1: the inner rule");
  }
};

/// Every k steps: φ ← φ + α(θ − φ), θ ← φ (Zhang et al., 2019).
class Lookahead final : public Wrapper {
 public:
  explicit Lookahead(std::unique_ptr<Optimizer> inner, LookaheadConfig const& config = {});

 private:
  void apply(double gradient_scale) override {
    begin();
    Wrapper::apply(gradient_scale);
    follow();
  }
  Evaluation search(Closure const& closure) override {
    begin();
    Evaluation const first = Wrapper::search(closure);
    follow();
    return first;
  }
  void begin();
  void follow();
  LookaheadConfig config_;
};

}  // namespace heed::optim
