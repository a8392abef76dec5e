#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/snapshots.h>
#include <heed/nn/transformer.h>

#include <algorithm>
#include <cmath>

namespace heed::nn {
namespace {

std::vector<NamedTensor> copied(Module& model) {
  std::vector<NamedTensor> copy;
  for (NamedTensor const& p : named_parameters(model)) copy.push_back({p.name, p.tensor.detach().clone()});
  return copy;
}

void put(Module& model, std::vector<NamedTensor> const& weights) {
  size_t i = 0;
  for (NamedTensor const& p : named_parameters(model)) p.tensor.detach().copy_(weights[i++].tensor);
}

}  // namespace

void Snapshots::Config::visit(ConfigVisitor& v) {
  v.field("every", every, "steps between two copies: a period of the schedule");
  v.field("keep", keep, "copies, the last ones");
}

Snapshots::Snapshots(Config const& config, Forward forward) : config_(config), given_(std::move(forward)) {
  check(config.every >= 1 && config.keep >= 1, "snapshots", [&] {
    return Complaint{fmt::format("expected every and keep of 1 or more, got {} and {}", config.every, config.keep),
                     "leave them out"};
  });
}

void Snapshots::begin(Module& model) {
  auto const* const gpt = dynamic_cast<GPT const*>(&model);
  check(given_ || gpt, "snapshots", [] {
    return Complaint{"the model is no GPT, and nothing was given that runs it", "pass a function that gives logits"};
  });
  forward_ = given_ ? given_ : [gpt](Tensor const& inputs) { return (*gpt)(inputs); };
  hook_.remove();
  copies_.clear();
  for (int64_t i = 0; i < config_.keep; ++i) copies_.push_back(copied(model));
  taken_ = zeros({}, Dtype::f64);
}

void Snapshots::stepped(Module& model, int64_t step) {
  if (step % config_.every != 0) return;
  NoGrad const off;
  auto const& oldest = copies_[size_t(int64_t(taken_.item()) % config_.keep)];
  size_t i = 0;
  for (NamedTensor const& p : named_parameters(model)) Tensor(oldest[i++].tensor).copy_(p.tensor.detach());
  taken_.copy_(taken_ + 1.0);
}

void Snapshots::evaluating(Module& model, bool on) {
  hook_.remove();
  if (!on || taken_.item() == 0) return;
  hook_ = on_forward(model.path(), [this, &model](ModuleCall const& call) {
    return inside_ || call.inputs.size() != 1 ? Tensor() : ensemble(model, call.inputs[0]);
  });
}

Tensor Snapshots::ensemble(Module& model, Tensor const& inputs) {
  struct Restored {
    Module& model;
    bool& inside;
    std::vector<NamedTensor> own;
    ~Restored() { put(model, own), inside = false; }
  };
  NoGrad const off;
  Restored const back{model, inside_, copied(model)};
  inside_ = true;
  size_t const count = size_t(std::min(int64_t(taken_.item()), config_.keep));
  std::vector<Tensor> answers;
  for (size_t i = 0; i < count; ++i) {
    put(model, copies_[i]);
    answers.push_back(log_softmax(forward_(inputs)));
  }
  return logsumexp(stack(answers), {0}) - std::log(double(count));
}

std::vector<NamedTensor> Snapshots::state() {
  std::vector<NamedTensor> list{{"taken", taken_}};
  for (size_t i = 0; i < copies_.size(); ++i)
    for (auto const& [name, tensor] : copies_[i]) list.push_back({fmt::format("copy.{}.{}", i, name), tensor});
  return list;
}

}  // namespace heed::nn
