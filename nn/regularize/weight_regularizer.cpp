#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/weight_regularizer.h>

#include <algorithm>
#include <cmath>

namespace heed::nn {

double checked_amount(std::string_view regularizer, char const* what, double value) {
  check(value >= 0 && std::isfinite(value), std::string(regularizer).c_str(), [&] {
    return Complaint{fmt::format("expected a {} of 0 or more, got {}", what, value), "0 switches it off"};
  });
  return value;
}

void WeightPenaltyConfig::visit(ConfigVisitor& v) {
  v.field("weight", weight, "factor of the penalty in the loss");
  v.field("pattern", pattern, "names of the matrices, ** for any");
}

WeightPenalty::WeightPenalty(std::string_view name, double weight, std::string pattern)
    : weight_(checked_amount(name, "weight", weight)), pattern_(std::move(pattern)) {}

Tensor WeightPenalty::penalty(Module& model) {
  if (weight_ == 0) return {};
  Tensor total;
  for (NamedTensor const& w : matrices(model, pattern_))
    if (Tensor const one = measure(w.name, w.tensor); one.defined()) total = total.defined() ? total + one : one;
  return total.defined() ? total * weight_ : Tensor();
}

std::vector<NamedTensor> matrices(Module& model, std::string_view pattern) {
  std::vector<NamedTensor> list;
  for (NamedTensor& p : named_parameters(model))
    if (p.tensor.rank() >= 2 && p.tensor.requires_grad() && matches(pattern, p.name)) list.push_back(std::move(p));
  return list;
}

Tensor as_matrix(Tensor const& w) { return w.reshape({w.size(0), -1}); }

Tensor largest_singular_value(Tensor const& w, Tensor& u, int64_t steps) {
  Tensor const matrix = as_matrix(w);
  Tensor v;
  {
    NoGrad const off;
    Tensor const constant = matrix.detach();
    for (int64_t i = 0; i < std::max(steps, int64_t{1}); ++i) {
      v = normalize(mv(constant.t(), u), 2, 0);
      u = normalize(mv(constant, v), 2, 0);
    }
  }
  return dot(u, mv(matrix, v));
}

Tensor first_direction(Tensor const& w) {
  Generator generator(0x5eed);
  return normalize(randn({w.size(0)}, Dtype::f32, generator), 2, 0).to(w.dtype()).to(w.device());
}

void WeightUse::begin(Module& model) {
  hook_.remove();
  model_ = &model;
  hook_ = on_weight(pattern_, [this](std::string_view path, Tensor const& w) {
    return (always_ || training()) && w.rank() >= 2 ? used(path, w) : Tensor();
  });
}

bool WeightUse::training() const { return model_ && model_->training(); }

void ReparametrizationConfig::visit(ConfigVisitor& v) {
  v.field("gain", gain, "the largest singular value at first; 0: that of the weight");
  v.field("learning_rate", learning_rate, "of the gains' own Adam; 0: they stay");
  v.field("pattern", pattern, "names of the matrices, ** for any");
}

void Reparametrization::begin(Module& model) {
  NoGrad const off;
  entries_.clear();
  steps_ = zeros({}, Dtype::f64);
  for (NamedTensor const& w : state_dict(model)) {
    bool const weight = w.name == "weight" || w.name.ends_with(".weight");
    if (!weight || w.tensor.rank() < 2 || !matches(pattern(), w.name)) continue;
    Entry entry{w.name, first_gain(w.tensor.detach()), first_direction(w.tensor), {}, {}};
    largest_singular_value(w.tensor, entry.u, 100);
    entry.mean = zeros_like(entry.gain), entry.square = zeros_like(entry.gain);
    if (learning_rate_ > 0) entry.gain.requires_grad_();
    entries_.push_back(std::move(entry));
  }
  WeightUse::begin(model);
}

Tensor Reparametrization::used(std::string_view path, Tensor const& w) {
  for (Entry const& entry : entries_)
    if (entry.name == path) return scaled(entry, w);
  return {};
}

void Reparametrization::stepped(Module& model, int64_t) {
  NoGrad const off;
  steps_.copy_(steps_ + 1.0);
  double const t = steps_.item(), first = 1 - std::pow(0.9, t), second = 1 - std::pow(0.999, t);
  auto const weights = state_dict(model);
  for (Entry& entry : entries_) {
    for (NamedTensor const& w : weights)
      if (w.name == entry.name) {
        Tensor u = entry.u;
        largest_singular_value(w.tensor, u, 2);
        entry.u.copy_(u);
      }
    Tensor const g = entry.gain.grad();
    if (!g.defined()) continue;
    entry.mean.copy_(entry.mean * 0.9 + g * 0.1);
    entry.square.copy_(entry.square * 0.999 + g * g * 0.001);
    Tensor body = entry.gain.detach();
    body.copy_(body - entry.mean / first / (sqrt(entry.square / second) + 1e-8) * learning_rate_);
    entry.gain.set_grad({});
  }
}

std::vector<NamedTensor> Reparametrization::state() {
  std::vector<NamedTensor> list{{"steps", steps_}};
  for (Entry const& e : entries_)
    for (auto const& [name, tensor] :
         {std::pair{"gain", e.gain}, std::pair{"u", e.u}, std::pair{"mean", e.mean}, std::pair{"square", e.square}})
      list.push_back({fmt::format("{}.{}", e.name, name), tensor});
  return list;
}

}  // namespace heed::nn
