// What acts against overfitting and over-dependence while a model trains, by the place where it acts.
#pragma once

#include <heed/engine/random.h>
#include <heed/nn/module.h>

#include <vector>

namespace heed::nn {

/// One regulariser. A training loop calls every member in the order in which they stand here; those that a regulariser
/// leaves alone do nothing.
class Regularizer {
 public:
  Regularizer() = default;
  Regularizer(Regularizer const&) = delete;
  Regularizer& operator=(Regularizer const&) = delete;
  virtual ~Regularizer() = default;  // takes away what begin() set

  /// Once, before the first step: sets hooks on the calling thread (nn/hooks.h, nn/attention/core.h), wraps weights.
  virtual void begin(Module&) {}
  /// Data: changes a training batch in place, before the model sees it.
  virtual void batch(Tensor& /*inputs*/, Tensor& /*targets*/, Generator&) {}
  /// Labels: the loss in place of `loss`, which is cross-entropy of logits [.., C] and targets [..].
  virtual Tensor loss(Tensor const& loss, Tensor const& /*logits*/, Tensor const& /*targets*/) { return loss; }
  /// Weights, activations and attention maps of this step's forward: what is added to the loss; undefined: nothing.
  virtual Tensor penalty(Module&) { return {}; }
  /// Gradients: changes parameters' gradients in place, before the optimiser reads them.
  virtual void gradients(std::vector<NamedTensor> const& /*parameters*/) {}
  /// Optimisation: after every step of the optimiser; step counts from 1.
  virtual void stepped(Module&, int64_t /*step*/) {}
  /// Evaluation begins (on) or ends: weights may be exchanged for averaged ones and back.
  virtual void evaluating(Module&, bool /*on*/) {}
  /// Averages and accumulators by name, saved with a checkpoint; loading copies into the same tensors.
  virtual std::vector<NamedTensor> state() { return {}; }
};

/// What a penalty is the mean of: scalars of one forward, of layers that recompute() runs again too.
class PenaltyTerms {
 public:
  void add(Tensor const& term);
  /// weight·mean of what was added since the last call; undefined where nothing was.
  Tensor take(double weight);

 private:
  std::vector<Tensor> terms_;
};

}  // namespace heed::nn
