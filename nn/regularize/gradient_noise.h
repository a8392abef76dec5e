// Gradient noise (Neelakantan et al., 2015): Gaussian noise that fades helps very deep or badly begun nets out of poor
// places; with Adam and normalisation little is left of the gain.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/config.h>
#include <heed/nn/regularize/weight_regularizer.h>

#include <cmath>

namespace heed::nn {

/// g + N(0, η/(1 + t)^γ), t the steps so far; drawn from the thread's default generator.
class GradientNoise : public Regularizer {
 public:
  struct Config {
    double variance = 0.01, fade = 0.55;
    void visit(ConfigVisitor& v) {
      v.field("variance", variance, "η, at the first step");
      v.field("fade", fade, "γ");
    }
  };
  explicit GradientNoise(Config const& config) : config_(config) {
    checked_amount("gradient-noise", "variance", config.variance);
    checked_amount("gradient-noise", "fade", config.fade);
  }
  void gradients(std::vector<NamedTensor> const& parameters) override {
    if (config_.variance == 0) return;
    NoGrad const off;
    double const deviation = std::sqrt(config_.variance * std::pow(1 + steps_.item(), -config_.fade));
    for (NamedTensor const& p : parameters)
      if (Tensor const g = p.tensor.grad(); g.defined())
        p.tensor.set_grad(g + (randn(g.shape(), Dtype::f32).to(g.device()) * deviation).to(g.dtype()));
  }
  void stepped(Module&, int64_t) override { steps_.data<double>()[0] += 1; }
  std::vector<NamedTensor> state() override { return {{"steps", steps_}}; }

 private:
  Config config_;
  Tensor steps_ = zeros({}, Dtype::f64);
};

}  // namespace heed::nn
