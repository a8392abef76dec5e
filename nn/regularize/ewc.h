// Elastic weight consolidation (Kirkpatrick et al., 2017): after a first task, weights are held in proportion to what
// it needs them for. Transfer and continual learning; consolidate() ends the first task.
#pragma once

#include <heed/nn/regularize/weight_regularizer.h>

#include <map>

namespace heed::nn {

/// ½·weight·Σ F·(w − w*)², F the diagonal of the empirical Fisher information and w* the weights, both of the last
/// consolidate(); nothing before.
class Ewc : public WeightPenalty {
 public:
  using Config = WeightPenaltyConfig;
  explicit Ewc(Config const& config) : WeightPenalty("ewc", config.weight, config.pattern) {}
  void begin(Module& model) override;
  /// F = the mean over `batches` of the squared gradient of loss(), each of one sample at best, at the weights now.
  void consolidate(Module& model, std::function<Tensor()> const& loss, int64_t batches);
  std::vector<NamedTensor> state() override;

 protected:
  Tensor measure(std::string const& name, Tensor const& w) override;

 private:
  struct Old {
    Tensor weights, importance;
  };
  std::map<std::string, Old> old_;
};

}  // namespace heed::nn
