// Prodigy and D-Adaptation: Adam that finds its own rate, from how far the weights have come. Leave the rate at 1, and
// let a schedule change its share.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct ProdigyConfig {
  double learning_rate = 1, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, first = 1e-6;
  void visit(nn::ConfigVisitor& v) {
    v.field("beta1", beta1, "decay of the mean of gradients, 0 to below 1");
    v.field("beta2", beta2, "decay of the mean of squares, 0 to below 1");
    v.field("eps", eps, "added to the root");
    v.field("first", first, "d₀, the first guess of the distance: small");
  }
};

/// What both share: d, a lower bound of ‖θ₀ − θ*‖ in the largest norm, is a number of the whole model that grows.
class DistanceOptimizer : public PointwiseOptimizer {
 protected:
  DistanceOptimizer(std::vector<ParameterGroup>&& groups, ProdigyConfig const& config, std::string_view name,
                    std::string_view slots);
  double distance() const { return numbers_[0]; }
  ProdigyConfig const& config() const { return config_; }
  /// The parameter's own share of r, from its gradient: its moments are those before the step.
  virtual Tensor correlation(Tensor const& p, Tensor const& g, size_t index) = 0;
  /// d of r/‖s‖₁.
  virtual double found(double ratio) const { return ratio; }

 private:
  void apply(double gradient_scale) override;
  ProdigyConfig config_;
  double* numbers_;  // d, r
};

/// m ← β₁m + (1 − β₁)·d·g; v ← β₂v + (1 − β₂)·d²g²; r ← β₃r + (1 − β₃)·ηd²⟨g, θ₀ − θ⟩; s ← β₃s + (1 − β₃)·ηd²g, β₃ =
/// √β₂; θ ← θ(1 − ηdλ) − ηd·m/(√v + dε); d ← max(d, r/‖s‖₁) (Mishchenko and Defazio, 2023).
class Prodigy final : public DistanceOptimizer {
 public:
  explicit Prodigy(std::vector<ParameterGroup>&& groups, ProdigyConfig const& config = {})
      : DistanceOptimizer(std::move(groups), config, "prodigy", "exp_avg exp_avg_sq s start") {}

 private:
  Tensor correlation(Tensor const& p, Tensor const& g, size_t index) override;
  void formula(Element& e) const override;
};

/// v ← β₂v + (1 − β₂)g²; r ← β₃r + (1 − β₃)·ηd⟨g, s/(√v + ε)⟩; s ← β₃s + (1 − β₃)·ηd·g, β₃ = √β₂; m ← β₁m + (1 −
/// β₁)·ηd·g; θ ← θ(1 − ηdλ) − m/(√v + ε); d ← max(d, r/((1 − β₃)‖s‖₁)) (Defazio and Mishchenko, 2023: Adam).
class DAdaptation final : public DistanceOptimizer {
 public:
  explicit DAdaptation(std::vector<ParameterGroup>&& groups, ProdigyConfig const& config = {})
      : DistanceOptimizer(std::move(groups), config, "d-adaptation", "exp_avg exp_avg_sq s") {}

 private:
  Tensor correlation(Tensor const& p, Tensor const& g, size_t index) override;
  double found(double ratio) const override { return ratio / (1 - std::sqrt(config().beta2)); }
  void formula(Element& e) const override;
};

}  // namespace heed::optim
