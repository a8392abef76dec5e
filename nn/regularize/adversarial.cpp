#include <fmt/format.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/adversarial.h>
#include <heed/nn/transformer.h>

#include <cmath>

namespace heed::nn {
namespace {

/// x/|x| for each sample.
Tensor unit(Tensor const& x) { return normalize(x.reshape({x.size(0), -1}), 2, 1).reshape(x.shape()); }

Tensor slope(Tensor const& value, Tensor const& delta, bool retain = false) {
  return grad({value}, {delta}, {}, {.retain_graph = retain})[0].detach();
}

Tensor leaf(Tensor const& x) { return x.detach().clone().requires_grad_(); }

int64_t checked_steps(std::string_view name, AdversarialStepsConfig const& config) {
  check(config.steps >= 1 && config.rate > 0, name, [&] {
    return Complaint{
        fmt::format("expected steps of 1 or more and a rate above 0, got {} and {}", config.steps, config.rate),
        "leave them out"};
  });
  return config.steps;
}

}  // namespace

void AdversarialConfig::visit(ConfigVisitor& v) {
  v.field("weight", weight, "of the loss at the worse place");
  v.field("radius", radius, "how far inputs are moved");
  v.field("at", at, "the module whose outputs are moved, where inputs are tokens");
}
void AdversarialStepsConfig::visit(ConfigVisitor& v) {
  AdversarialConfig::visit(v);
  v.field("steps", steps, "looks for a worse place");
  v.field("rate", rate, "length of a step; of vat: how far away the direction is looked for");
}

Adversarial::Adversarial(std::string_view name, AdversarialConfig const& config, Forward forward)
    : name_(name), config_(config), forward_(std::move(forward)) {
  checked_range(name, config.radius, 0, INFINITY);
  checked_range(name, config.weight, 0, INFINITY);
}

void Adversarial::begin(Module& model) {
  hook_.remove();
  if (!forward_) {
    auto const* const gpt = dynamic_cast<GPT const*>(&model);
    check(gpt, name_, [] {
      return Complaint{"the model is no GPT, and nothing was given that runs it", "pass a function that gives logits"};
    });
    forward_ = [gpt](Tensor const& inputs) { return (*gpt)(inputs); };
  }
  hook_ = on_forward(config_.at, [this](ModuleCall const& call) {
    if (!delta_) return Tensor();
    if (!delta_->defined()) *delta_ = leaf(zeros_like(call.output));
    return call.output + *delta_;
  });
}

Tensor Adversarial::moved(Tensor& delta) {
  check(inputs_.defined() && forward_, name_, [] {
    return Complaint{"there is no batch to move", "call begin() and batch() before the model"};
  });
  bool const numbers = is_floating(inputs_.dtype());
  if (numbers && !delta.defined()) delta = leaf(zeros_like(inputs_));
  delta_ = numbers ? nullptr : &delta;
  Tensor const logits = forward_(numbers ? inputs_ + delta : inputs_);
  delta_ = nullptr;
  check(delta.defined(), name_, [&] {
    return Complaint{fmt::format("no module is called '{}'", config_.at), "name the one that embeds tokens"};
  });
  return logits;
}

Tensor Adversarial::loss(Tensor const& loss, Tensor const&, Tensor const& targets) {
  return weight() == 0 ? loss : changed(loss, targets);
}

Tensor Fgsm::changed(Tensor const& loss, Tensor const& targets) {
  Tensor delta;
  Tensor const here = cross_entropy(moved(delta), targets);
  Tensor worse = sign(slope(here, delta)) * radius();
  return loss * (1 - weight()) + cross_entropy(moved(worse), targets) * weight();
}

Pgd::Pgd(Config const& config, Forward forward)
    : Adversarial("pgd", config, std::move(forward)), steps_(checked_steps("pgd", config)), rate_(config.rate) {}
Tensor Pgd::changed(Tensor const& loss, Tensor const& targets) {
  Tensor delta;
  for (int64_t i = 0; i < steps_; ++i) {
    Tensor const here = cross_entropy(moved(delta), targets);
    delta = leaf(clamp(delta.detach() + sign(slope(here, delta)) * rate_, -radius(), radius()));
  }
  delta = delta.detach();
  return loss * (1 - weight()) + cross_entropy(moved(delta), targets) * weight();
}

FreeLB::FreeLB(Config const& config, Forward forward)
    : Adversarial("freelb", config, std::move(forward)), steps_(checked_steps("freelb", config)), rate_(config.rate) {}
Tensor FreeLB::changed(Tensor const& loss, Tensor const& targets) {
  Tensor delta, total;
  {
    NoGrad const off;
    moved(delta);  // for its shape
  }
  double const reach = radius() / std::sqrt(double(delta.numel()) / double(delta.size(0)));
  delta = leaf(uniform(delta.shape(), -reach, reach, delta.dtype(), default_generator(), delta.device()));
  for (int64_t i = 0; i < steps_; ++i) {
    Tensor const here = cross_entropy(moved(delta), targets);
    total = total.defined() ? total + here : here;
    if (i + 1 == steps_) break;
    Tensor const next = (delta.detach() + unit(slope(here, delta, true)) * rate_).reshape({delta.size(0), -1});
    delta = leaf(
        (next * clamp_max(radius() / clamp_min(vector_norm(next, 2, {1}, true), 1e-12), 1.)).reshape(delta.shape()));
  }
  return loss * (1 - weight()) + total * (weight() / double(steps_));
}

Vat::Vat(Config const& config, Forward forward)
    : Adversarial("vat", config, std::move(forward)), steps_(checked_steps("vat", config)), rate_(config.rate) {}
Tensor Vat::changed(Tensor const& loss, Tensor const& targets) {
  Tensor delta, log_p;
  {
    NoGrad const off;
    log_p = log_softmax(moved(delta));
  }
  Tensor direction = unit(randn(delta.shape(), delta.dtype(), default_generator(), delta.device()));
  auto const apart = [&](Tensor& by) { return mean_of_rows(divergence(log_p, log_softmax(moved(by))), targets); };
  for (int64_t i = 0; i < steps_; ++i) {
    Tensor near = leaf(direction * rate_);
    direction = unit(slope(apart(near), near));
  }
  Tensor far = direction * radius();
  return loss + apart(far) * weight();
}

}  // namespace heed::nn
