// What every step rule has: parameter groups, a learning rate, and a state that can be saved.
#pragma once

#include <heed/nn/module.h>

#include <functional>
#include <vector>

namespace heed::optim {

/// Parameters that share settings. The rate of a group is the optimiser's rate times `rate_scale`.
struct ParameterGroup {
  std::vector<nn::NamedTensor> parameters;
  double rate_scale = 1;
  double weight_decay = 0;
};

/// Two groups: matrices and tables (rank 2 and up) decay, vectors (biases, norms) do not.
std::vector<ParameterGroup> decay_matrices_only(nn::Module& model, double weight_decay);
/// For init mup and rules of Adam's kind: matrices of the blocks and the head learn at `base`/dim of the rate, dim the
/// width of the token embedding; embeddings and vectors at the whole of it (Yang et al., 2022). Vectors do not decay.
std::vector<ParameterGroup> mup_groups(nn::Module& model, int64_t base, double weight_decay = 0);
/// One group of everything.
std::vector<ParameterGroup> all_parameters(nn::Module& model, double weight_decay = 0);

/// What one evaluation of the loss and its gradients gives to a step.
struct Evaluation {
  double loss = 0;
  double gradient_scale = 1;  // gradients are read times this: clipping, loss scaling
};
/// Clears the gradients, computes the loss and the gradients; called again within a step, for the same batch.
using Closure = std::function<Evaluation()>;

class Optimizer {
 public:
  Optimizer(std::vector<ParameterGroup>&& groups, double learning_rate);
  virtual ~Optimizer() = default;
  Optimizer(Optimizer const&) = delete;
  Optimizer& operator=(Optimizer const&) = delete;

  /// Changes every parameter that has a gradient; gradients are read as gradient·gradient_scale. An Error where the
  /// rule needs the loss at other weights (SAM, L-BFGS): those step with a closure.
  void step(double gradient_scale = 1);
  /// One step of any rule, which calls closure() as often as it needs; the first evaluation.
  Evaluation step(Closure const& closure);
  /// Evaluation begins (on) or ends: rules that judge other weights than those they train (Schedule-Free) exchange
  /// them, and back with the same bits. A step ends it.
  virtual void evaluating(bool /*on*/) {}
  void zero_grad();
  double learning_rate() const { return learning_rate_; }
  void set_learning_rate(double rate) { learning_rate_ = rate; }
  std::vector<ParameterGroup> const& groups() const { return groups_; }
  /// Steps taken.
  int64_t steps() const { return steps_; }
  /// Moments by "<kind>.<parameter name>"; with steps() the whole state. Those of 16-bit parameters are f32.
  virtual std::vector<nn::NamedTensor> state() const { return held(); }
  /// What of it is in this process's memory: all, but for a rule that is spread over ranks.
  virtual std::vector<nn::NamedTensor> held() const;
  virtual bool holds_all() const { return true; }
  /// An Error, before anything is written, where a name or shape does not fit. The model's weights are loaded first.
  void load_state(std::vector<nn::NamedTensor> const& state, int64_t steps);

 protected:
  /// A parameter in a step, contiguous; f32 copies of 16-bit ones.
  struct Item {
    Tensor parameter, gradient;
    size_t index;  // in order of the groups
  };
  /// The whole step without a closure: update() of every group.
  virtual void apply(double gradient_scale);
  virtual void update(ParameterGroup const& /*group*/, std::vector<Item> const& /*items*/, double /*rate*/,
                      double /*gradient_scale*/) {}
  /// The whole step with one: one evaluation and apply(). Gradients are recorded within closure() alone.
  virtual Evaluation search(Closure const& closure);
  /// After load_state().
  virtual void loaded() {}

  /// What accompanies each parameter, named as in PyTorch where it has the rule; all start at zero.
  Tensor& moment(size_t slot, size_t parameter) { return slots_[slot].tensors[parameter]; }
  void add_slot(std::string_view kind);
  /// The same with a shape of its own; an undefined tensor is none.
  void add_slot(std::string_view kind, std::function<Tensor(Tensor const& parameter)> const& make);
  /// A tensor of the whole optimiser, saved with it.
  Tensor add_tensor(std::string_view kind, Tensor const& tensor);

 private:
  friend class Wrapper;  // optim/wrapper.h
  struct Slot {
    std::string kind;
    std::vector<Tensor> tensors;  // one a parameter, in order of the groups
  };
  std::vector<ParameterGroup> groups_;
  std::vector<Slot> slots_;
  std::vector<nn::NamedTensor> tensors_;
  double learning_rate_;
  int64_t steps_ = 0;
};

/// √Σ g² over every gradient; fixed order.
double gradient_norm(std::vector<ParameterGroup> const& groups);
/// What gradients are to be multiplied by so that their norm is at most `max_norm` (Pascanu et al., 2013); 1 where it
/// is 0.
inline double clip_scale(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / (norm + 1e-6) : 1;
}

}  // namespace heed::optim
