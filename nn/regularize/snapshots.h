// Snapshot ensembles (Huang et al., 2017): a rate that falls and starts anew visits several minima, and a model of each
// costs one training. With the schedule cosine-restarts of the same period.
#pragma once

#include <heed/nn/hooks.h>
#include <heed/nn/regularize/labels.h>

namespace heed::nn {

/// Copies of the weights after every `every` steps, the last `keep` of them. While evaluating, what the model gives
/// where it is called as a whole, and without caches, is log of the mean of the copies' softmax, a forward for each.
class Snapshots final : public Regularizer {
 public:
  struct Config {
    int64_t every = 1000, keep = 3;
    void visit(ConfigVisitor& v);
  };
  /// Runs the model itself, unless `forward` does.
  explicit Snapshots(Config const& config, Forward forward = {});
  ~Snapshots() override { hook_.remove(); }
  /// An Error where the model is no GPT and no forward was given.
  void begin(Module& model) override;
  void stepped(Module& model, int64_t step) override;
  void evaluating(Module& model, bool on) override;
  std::vector<NamedTensor> state() override;

 private:
  Tensor ensemble(Module& model, Tensor const& inputs);
  Config config_;
  Forward given_, forward_;
  HookHandle hook_;
  bool inside_ = false;
  std::vector<std::vector<NamedTensor>> copies_;
  Tensor taken_;  // so many, of all steps
};

}  // namespace heed::nn
