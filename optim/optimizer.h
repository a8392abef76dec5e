// What every step rule has: parameter groups, a learning rate, and a state that can be saved.
#pragma once

#include <heed/nn/module.h>

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
/// One group of everything.
std::vector<ParameterGroup> all_parameters(nn::Module& model, double weight_decay = 0);

class Optimizer {
 public:
  explicit Optimizer(std::vector<ParameterGroup> groups, double learning_rate);
  virtual ~Optimizer() = default;
  Optimizer(Optimizer const&) = delete;
  Optimizer& operator=(Optimizer const&) = delete;

  /// Changes every parameter that has a gradient; gradients are read as gradient·gradient_scale.
  void step(double gradient_scale = 1);
  void zero_grad();
  double learning_rate() const { return learning_rate_; }
  void set_learning_rate(double rate) { learning_rate_ = rate; }
  std::vector<ParameterGroup> const& groups() const { return groups_; }
  /// Steps taken.
  int64_t steps() const { return steps_; }
  /// Moments by "<kind>.<parameter name>"; with steps() the whole state.
  std::vector<nn::NamedTensor> state() const;
  /// An Error, before anything is written, where a name or shape does not fit.
  void load_state(std::vector<nn::NamedTensor> const& state, int64_t steps);

 protected:
  /// One of the tensors that accompany each parameter, named as in PyTorch; all start at zero.
  struct Slot {
    char const* kind;
    std::vector<Tensor> tensors;  // one a parameter, in order of the groups
  };
  Tensor& moment(size_t slot, size_t parameter) { return slots_[slot].tensors[parameter]; }
  void add_slot(char const* kind);

 private:
  virtual void update(Tensor const& parameter, Tensor const& gradient, size_t index, ParameterGroup const& group,
                      double rate, double gradient_scale) = 0;
  std::vector<ParameterGroup> groups_;
  std::vector<Slot> slots_;
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
