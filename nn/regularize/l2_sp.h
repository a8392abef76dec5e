// L2-SP (Li, Grandvalet and Davoine, 2018): fine-tuned weights are drawn to where they started and not to 0, so that
// what was learnt before is not forgotten.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/weight_regularizer.h>

#include <map>

namespace heed::nn {

/// ½·weight·Σ (w − w₀)², w₀ the weights at begin().
class L2Sp : public WeightPenalty {
 public:
  using Config = WeightPenaltyConfig;
  explicit L2Sp(Config const& config) : WeightPenalty("l2-sp", config.weight, config.pattern) {}
  void begin(Module& model) override {
    NoGrad const off;
    for (NamedTensor const& w : matrices(model, pattern())) start_.insert_or_assign(w.name, w.tensor.detach().clone());
  }
  std::vector<NamedTensor> state() override {
    std::vector<NamedTensor> list;
    for (auto const& [name, start] : start_) list.push_back({name, start});
    return list;
  }

 protected:
  Tensor measure(std::string const& name, Tensor const& w) override {
    auto const at = start_.find(name);
    return at == start_.end() ? Tensor() : sum(square(w - at->second)) * 0.5;
  }

 private:
  std::map<std::string, Tensor> start_;
};

}  // namespace heed::nn
