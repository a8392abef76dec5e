// Rules around rules.
#pragma once

#include <heed/optim/optimizer.h>

#include <memory>

namespace heed::optim {

/// What stands around an optimiser, with its parameters: the inner one takes the steps, at the rate of the outer one.
class Wrapper : public Optimizer {
 public:
  std::vector<nn::NamedTensor> state() const override;
  std::vector<nn::NamedTensor> held() const override;
  bool holds_all() const override { return inner_->holds_all(); }
  void evaluating(bool on) override { inner_->evaluating(on); }

 protected:
  explicit Wrapper(std::unique_ptr<Optimizer> inner);
  /// Around an optimiser of some of the parameters.
  Wrapper(std::vector<ParameterGroup>&& groups, std::unique_ptr<Optimizer> inner);
  void apply(double gradient_scale) override;
  Evaluation search(Closure const& closure) override;
  void loaded() override;
  /// Leaves decay to the wrapper: the inner rule runs without.
  void take_decay();

  /// Every parameter with its place in the groups.
  template <class F>
  void for_each(F f) const {
    size_t index = 0;
    for (ParameterGroup const& group : groups())
      for (auto const& parameter : group.parameters)
        f(parameter.tensor.detach(), parameter.tensor.grad(), index++, group);
  }
  /// In f32 for 16-bit tensors.
  static Tensor wide_copy(Tensor const& tensor);

 private:
  std::unique_ptr<Optimizer> inner_;
};

/// A wrapper that looks at what the inner rule, without decay, has changed.
class ChangeWrapper : public Wrapper {
 protected:
  explicit ChangeWrapper(std::unique_ptr<Optimizer> inner) : Wrapper(std::move(inner)) { take_decay(); }
  /// Each p with a gradient g, once it is no longer `old`; decay is ηλ.
  virtual void follow(Tensor p, Tensor const& old, Tensor const& g, double decay) = 0;

 private:
  void apply(double gradient_scale) override;
  Evaluation search(Closure const& closure) override;
  std::vector<Tensor> begin() const;
  void end(std::vector<Tensor> const& before);
};

}  // namespace heed::optim
