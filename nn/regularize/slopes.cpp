#include <fmt/format.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/slopes.h>

#include <cmath>

namespace heed::nn {
namespace {

constexpr double tiny = 1e-12;  // keeps the slope of a root finite

/// |∂value/∂x|² of each sample, differentiable.
Tensor squared_slopes(Tensor const& value, Tensor const& x) {
  return sum(square(grad({value}, {x}, {}, {.create_graph = true})[0].reshape({x.size(0), -1})), {1});
}

}  // namespace

SlopePenalty::SlopePenalty(std::string_view name, double weight, std::string at)
    : OutputRegularizer(std::move(at)), name_(name), weight_(checked_range(name, weight, 0, INFINITY)) {}

void SlopePenalty::batch(Tensor& inputs, Tensor&, Generator&) {
  x_ = {};
  if (weight_ == 0 || !is_floating(inputs.dtype())) return;
  x_ = inputs = inputs.detach().requires_grad_();
}

Tensor SlopePenalty::changed(ModuleCall const& call) {
  // The first of a step: other regularisers may pass the batch again, and numbers are the inputs themselves.
  if (weight_ != 0 && recording() && !x_.defined()) x_ = call.output;
  return {};
}

Tensor SlopePenalty::loss(Tensor const& loss, Tensor const& logits, Tensor const&) {
  if (weight_ == 0 || !recording()) return loss;
  check(x_.defined() && x_.requires_grad(), name_, [] {
    return Complaint{"there are no inputs to differentiate by",
                     "call begin() and batch() before the model, and let `at` name what embeds tokens, learning"};
  });
  return loss + size(loss, logits, std::exchange(x_, {})) * weight_;
}

void JacobianPenalty::Config::visit(ConfigVisitor& v) {
  v.field("weight", weight, "factor of the penalty in the loss");
  v.field("projections", projections, "random directions of the outputs, a backward pass each");
  v.field("at", at, "the module whose outputs count as inputs, where those are tokens");
}
JacobianPenalty::JacobianPenalty(Config const& config)
    : SlopePenalty("jacobian", config.weight, config.at), projections_(config.projections) {
  check(projections_ >= 1, "jacobian", [&] {
    return Complaint{fmt::format("expected projections of 1 or more, got {}", projections_), "leave them out"};
  });
}

Tensor JacobianPenalty::size(Tensor const&, Tensor const& logits, Tensor const& x) {
  Tensor const rows = logits.reshape({x.size(0), -1});
  Tensor total;
  for (int64_t i = 0; i < projections_; ++i) {
    Tensor const v = normalize(randn(rows.shape(), rows.dtype(), default_generator(), rows.device()), 2, 1);
    Tensor const one = mean(squared_slopes(sum(rows * v), x));
    total = total.defined() ? total + one : one;
  }
  return total * (double(rows.size(1)) / double(2 * projections_));
}

void GradientPenalty::Config::visit(ConfigVisitor& v) {
  v.field("weight", weight, "factor of the penalty in the loss");
  v.field("norm", norm, "length of a gradient that is free");
  v.field("of", of, "loss, or outputs");
  v.field("at", at, "the module whose outputs count as inputs, where those are tokens");
}
GradientPenalty::GradientPenalty(Config const& config)
    : SlopePenalty("gradient-penalty", config.weight, config.at),
      norm_(checked_range("gradient-penalty", config.norm, 0, INFINITY)),
      outputs_(config.of == "outputs") {
  check(outputs_ || config.of == "loss", "gradient-penalty", [&] {
    return Complaint{fmt::format("expected loss or outputs for 'of', got '{}'", config.of), "leave it out"};
  });
}

Tensor GradientPenalty::size(Tensor const& loss, Tensor const& logits, Tensor const& x) {
  // The loss is a mean over samples.
  Tensor const squares = squared_slopes(outputs_ ? sum(logits) : loss * double(x.size(0)), x);
  return mean(norm_ == 0 ? squares : square(sqrt(squares + tiny) - norm_));
}

}  // namespace heed::nn
