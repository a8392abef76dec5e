// Lookahead (Zhang et al., 2019) around any optimiser: the weights go back a part of the way of their last k steps.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/config.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// Every k steps φ ← φ + α(θ − φ), θ ← φ. α = 1: nothing changes.
class LookaheadWeights : public Regularizer {
 public:
  struct Config {
    int64_t k = 5;
    double share = 0.5;
    void visit(ConfigVisitor& v) {
      v.field("k", k, "steps between two of the slow weights");
      v.field("share", share, "α of the way that the slow weights go, 0 to 1");
    }
  };
  explicit LookaheadWeights(Config const& config) : config_(config) {
    checked_amount("lookahead", "k of 1 or more, less 1", double(config.k - 1));
    checked_amount("lookahead", "share", config.share);
    checked_amount("lookahead", "distance of the share to 1", 1 - config.share);
  }
  void begin(Module& model) override {
    slow_.clear();
    for (NamedTensor const& p : named_parameters(model)) slow_.push_back({p.name, p.tensor.detach().clone()});
  }
  void stepped(Module& model, int64_t step) override {
    if (step % config_.k != 0) return;
    NoGrad const off;
    size_t i = 0;
    for (NamedTensor const& p : named_parameters(model)) {
      Tensor slow = slow_[i++].tensor, fast = p.tensor.detach();
      slow.copy_(lerp(slow, fast, config_.share));
      fast.copy_(slow);
    }
  }
  std::vector<NamedTensor> state() override { return slow_; }

 private:
  Config config_;
  std::vector<NamedTensor> slow_;
};

}  // namespace heed::nn
