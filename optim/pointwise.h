// Rules whose elements do not see each other: each is one formula, written over symbols as for map(), and run over all
// parameters of a group at once, one pass over memory, on the processor's best instruction set or on an accelerator.
#pragma once

#include <heed/engine/map.h>
#include <heed/nn/config.h>
#include <heed/optim/optimizer.h>

#include <cmath>
#include <string_view>

namespace heed::optim {

/// One element of a step, as a formula sees it: it reads and replaces p and state. What a step has in common are
/// numbers, so that formulas branch on them freely; they are recorded anew for every group and step.
struct Element {
  Symbol p, g;                // parameter and gradient
  std::vector<Symbol> state;  // by slot, at first 0
  std::vector<Symbol> norm;   // of the whole tensor each: what the rule measures
  double rate, decay;         // η and λ of the group
  int64_t t;                  // steps, from 1

  bool first() const { return t == 1; }
  /// The gradient of loss + λ/2·‖θ‖² in place of the loss's.
  void add_decay_to_gradient() {
    if (decay != 0) g = g + decay * p;
  }
  /// θ·(1 − ηλ): decay apart from the gradient (Loshchilov and Hutter, 2019).
  void decay_parameter() {
    if (decay != 0) p = p * (1 - rate * decay);
  }
};

inline Symbol lerp(Symbol a, Symbol b, double weight) { return a + weight * (b - a); }
inline Symbol sign(Symbol x) { return select(x > 0., 1., select(x < 0., -1., 0.)); }
inline Symbol square(Symbol x) { return x * x; }
/// 1 − β^t: what a mean that starts at zero is divided by (Kingma and Ba, 2015).
double correction(double beta, int64_t t);
/// Both moving means of Adam, m in state[0] and v in state[1]; √v̂ + ε.
Symbol adam_means(Element& e, double beta1, double beta2, double epsilon);

/// The arrays of one step, in the memory of `device`: n elements each, of type f32 or f64.
struct StepArrays {
  Device device;
  Dtype dtype;
  void *parameter, *gradient;
  void* const* state;
  int64_t n;
  double gradient_scale;
};
/// Kernels of the rules that most runs use, for which the formulas are the specification.
/// Adam's, decay apart from the gradient or `coupled`; with a third state AMSGrad's.
bool adamw_kernel(StepArrays const& at, Element const& e, double beta1, double beta2, double epsilon,
                  bool coupled = false, bool amsgrad = false);
bool adagrad_kernel(StepArrays const& at, Element const& e, double rate, double initial, double epsilon);
bool sgd_kernel(StepArrays const& at, Element const& e, double momentum, double dampening, bool nesterov);
/// An Error where Nesterov's form lacks momentum, or is dampened.
void require_momentum(double momentum, double dampening, bool nesterov);

/// An Error where a number that `visit` shows is out of range: beta…, momentum, alpha, rho and decay… lie from 0 to
/// below 1, other numbers are finite and not negative.
void check_settings(std::string_view rule, void (*visit)(nn::ConfigVisitor&, void*), void* settings);
template <class Settings>
void check_settings(std::string_view rule, Settings& settings) {
  check_settings(
      rule, [](nn::ConfigVisitor& visitor, void* s) { static_cast<Settings*>(s)->visit(visitor); }, &settings);
}

/// The driver. Some rules scale a step by norms of whole tensors: what is measured is computed first, the norm stays
/// where the tensor is.
class PointwiseOptimizer : public Optimizer {
 protected:
  /// `slots`: names, one space between two.
  PointwiseOptimizer(std::vector<ParameterGroup>&& groups, double learning_rate, std::string_view slots);

 private:
  void update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double gradient_scale) override;
  virtual void formula(Element& e) const = 0;
  /// Whose norms formula() wants, one a tensor.
  virtual std::vector<Symbol> measured(Element&) const { return {}; }
  /// The step by a kernel; false where there is none.
  virtual bool kernel(StepArrays const&, Element const&) const { return false; }
  size_t slot_count_ = 0;
};

/// A rule is an aggregate: its settings with `learning_rate` among them, visit(), name, slots(), and
/// operator()(Element&), the formula.
///   Lion optimizer(all_parameters(model), {.beta1 = 0.95});
template <class Rule>
class Pointwise final : public PointwiseOptimizer {
 public:
  explicit Pointwise(std::vector<ParameterGroup>&& groups, Rule const& rule = {})
      : PointwiseOptimizer(std::move(groups), rule.learning_rate, rule.slots()), rule_(rule) {
    check_settings(Rule::name, rule_);
    if constexpr (requires { rule.require(); }) rule.require();
  }
  explicit Pointwise(std::vector<ParameterGroup> const& groups, Rule const& rule = {})
      : Pointwise(std::vector<ParameterGroup>(groups), rule) {}

 private:
  void formula(Element& e) const override { rule_(e); }
  std::vector<Symbol> measured(Element& e) const override {
    if constexpr (requires { rule_.measured(e); })
      return rule_.measured(e);
    else
      return {};
  }
  bool kernel(StepArrays const& at, Element const& e) const override {
    if constexpr (requires { rule_.kernel(at, e); })
      return rule_.kernel(at, e);
    else
      return false;
  }
  Rule rule_;
};

}  // namespace heed::optim
