// What averages of weights share: the model trains on, evaluations see the averages.
#pragma once

#include <heed/nn/regularize/regularizer.h>

namespace heed::nn {

/// Averages of every parameter, f32 for 16-bit ones. While evaluating, the model holds them, and its own weights are
/// kept aside, as part of the state: a checkpoint written then holds the averages as the model, and evaluating(model,
/// false) after loading goes back to the weights.
class AveragedWeights : public Regularizer {
 public:
  void begin(Module& model) override;
  void stepped(Module& model, int64_t step) override;
  void evaluating(Module& model, bool on) override;
  std::vector<NamedTensor> state() override;

 protected:
  /// How far the averages go towards the weights after this step, from 0 to 1. `count` of them were taken before.
  virtual double share(int64_t step, int64_t count) const = 0;

 private:
  struct Entry {
    std::string name;
    Tensor average, kept;
  };
  std::vector<Entry> entries_;
  Tensor progress_;  // averages taken; 1 while they are shown
};

}  // namespace heed::nn
