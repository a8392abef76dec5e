// Several regularisers as one.
#pragma once

#include <heed/nn/regularize/regularizer.h>

#include <memory>
#include <string>
#include <utility>

namespace heed::nn {

/// Calls each in order; penalties add up. State is named "<place>.<name>".
class Regularizers final : public Regularizer {
 public:
  explicit Regularizers(std::vector<std::unique_ptr<Regularizer>> parts) : parts_(std::move(parts)) {}
  bool empty() const { return parts_.empty(); }

  void begin(Module& model) override {
    for (auto const& part : parts_) part->begin(model);
  }
  void batch(Tensor& inputs, Tensor& targets, Generator& generator) override {
    for (auto const& part : parts_) part->batch(inputs, targets, generator);
  }
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override {
    Tensor result = loss;
    for (auto const& part : parts_) result = part->loss(result, logits, targets);
    return result;
  }
  Tensor penalty(Module& model) override;
  void gradients(std::vector<NamedTensor> const& parameters) override {
    for (auto const& part : parts_) part->gradients(parameters);
  }
  void stepped(Module& model, int64_t step) override {
    for (auto const& part : parts_) part->stepped(model, step);
  }
  void evaluating(Module& model, bool on) override {
    for (auto const& part : parts_) part->evaluating(model, on);
  }
  std::vector<NamedTensor> state() override;

 private:
  std::vector<std::unique_ptr<Regularizer>> parts_;
};

}  // namespace heed::nn
