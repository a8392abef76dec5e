#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/io/safetensors.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/loss/classification.h>
#include <heed/nn/regularize/labels.h>
#include <heed/nn/regularize/outputs.h>
#include <heed/nn/transformer.h>

namespace heed::nn {

Tensor mean_of_rows(Tensor const& each, Tensor const& targets) {
  if (is_floating(targets.dtype())) return mean(each);
  Tensor const counts = targets != -100;
  return sum(where(counts, each, 0.0)) / clamp_min(sum(counts).to(each.dtype()), 1.0);
}

Tensor divergence(Tensor const& log_p, Tensor const& log_q) { return sum(exp(log_p) * (log_p - log_q), {-1}); }

LabelSmoothing::LabelSmoothing(Config const& config)
    : epsilon_(checked_range("label-smoothing", config.epsilon, 0, 1)) {}
Tensor LabelSmoothing::loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) {
  if (epsilon_ == 0) return loss;
  Tensor const uniform = mean_of_rows(logsumexp(logits, -1) - mean(logits, {-1}), targets);
  return loss * (1 - epsilon_) + uniform * epsilon_;
}

Tensor ConfidencePenalty::loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) {
  if (weight_ == 0) return loss;
  Tensor const log_p = log_softmax(logits);
  return loss + mean_of_rows(sum(exp(log_p) * log_p, {-1}), targets) * weight_;
}

NoisyLabels::NoisyLabels(Config const& config) : q_(config.q) {
  check(q_ > 0 && q_ <= 1, "gce", [&] {
    return Complaint{fmt::format("expected q above 0 up to 1, got {}", q_), "0.7 is usual"};
  });
}
Tensor NoisyLabels::loss(Tensor const&, Tensor const& logits, Tensor const& targets) {
  return loss::GeneralizedCrossEntropy{q_}(logits, targets);
}

Tensor BiTemperedLabels::loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) {
  return config_.t1 == 1 && config_.t2 == 1 ? loss : loss::BiTempered{config_.t1, config_.t2}(logits, targets);
}

Tensor BootstrappedLabels::loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) {
  if (beta_ == 1) return loss;
  Tensor const change = loss::Bootstrapping{0}(logits, targets) - cross_entropy(logits, targets);
  return loss + change * (1 - beta_);
}

void RDrop::batch(Tensor& inputs, Tensor& targets, Generator&) {
  inputs = cat({inputs, inputs});
  targets = cat({targets, targets});
}
Tensor RDrop::loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) {
  if (weight_ == 0) return loss;
  check(logits.size(0) % 2 == 0, "r-drop", [&] {
    return Complaint{fmt::format("the batch is not there twice: logits {}", to_string(logits.shape())),
                     "put it behind what changes the batch"};
  });
  Tensor const log_p = log_softmax(logits);
  auto const halves = chunk(log_p, 2);
  Tensor const both = divergence(halves[0], halves[1]) + divergence(halves[1], halves[0]);
  return loss + mean_of_rows(both, chunk(targets, 2)[0]) * (weight_ / 2);
}

Distillation::Distillation(Config const& config, Forward teacher) : config_(config), teacher_(std::move(teacher)) {
  checked_range("distillation", config.weight, 0, 1 + 1e-12);
  check(config.temperature > 0, "distillation", [&] {
    return Complaint{fmt::format("expected a temperature above 0, got {}", config.temperature), "1 or more is usual"};
  });
}

void Distillation::begin(Module& model) {
  model_ = &model;
  if (teacher_) return;
  auto const* const gpt = dynamic_cast<GPT const*>(&model);
  check(gpt, "distillation", [] {
    return Complaint{"the model is no GPT, and no teacher was given", "pass a function that gives a teacher's logits"};
  });
  weights_.clear();
  for (auto const& [name, tensor] : named_parameters(model)) weights_.push_back({name, tensor.detach().clone()});
  if (!config_.teacher.empty()) {
    Safetensors const file = load_safetensors(config_.teacher);
    for (auto& [name, tensor] : weights_) {
      Tensor const* const found = file.find(name);
      check(found && found->shape() == tensor.shape(), "distillation", [&] {
        return Complaint{fmt::format("'{}' has no {} of shape {}", config_.teacher, name, to_string(tensor.shape())),
                         "name the file of a model of the same shape"};
      });
      tensor.copy_(*found);
    }
  }
  teacher_ = [this, gpt](Tensor const& inputs) {
    auto const exchange = [this] {
      auto const own = parameters(*model_);
      for (size_t i = 0; i < own.size(); ++i) {
        Tensor const kept = own[i].detach().clone();
        Tensor(own[i]).copy_(weights_[i].tensor);
        weights_[i].tensor.copy_(kept);
      }
    };
    bool const training = model_->training();
    exchange();
    train(*model_, false);
    Tensor const logits = (*gpt)(inputs);
    train(*model_, training);
    exchange();
    return logits;
  };
}

void Distillation::batch(Tensor& inputs, Tensor&, Generator&) {
  if (config_.weight == 0) return;
  NoGrad const off;
  taught_ = teacher_(inputs).detach();
}

Tensor Distillation::loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) {
  if (config_.weight == 0) return loss;
  check(taught_.defined() && taught_.shape() == logits.shape(), "distillation", [&] {
    return Complaint{fmt::format("the teacher's logits are {}, the model's {}",
                                 taught_.defined() ? to_string(taught_.shape()) : "none", to_string(logits.shape())),
                     "put it behind what changes the batch, and call batch() before the model"};
  });
  double const t = config_.temperature;
  Tensor const apart = divergence(log_softmax(taught_ / t), log_softmax(logits / t));
  taught_ = {};
  return loss * (1 - config_.weight) + mean_of_rows(apart, targets) * (config_.weight * t * t);
}

MeanTeacher::MeanTeacher(Config const& config)
    : Distillation({.weight = config.weight, .temperature = config.temperature}),
      decay_(checked_range("mean-teacher", config.decay, 0, 1)) {}
void MeanTeacher::stepped(Module& model, int64_t) {
  NoGrad const off;
  auto const own = parameters(model);
  for (size_t i = 0; i < own.size(); ++i) weights_[i].tensor.copy_(lerp(own[i].detach(), weights_[i].tensor, decay_));
}

}  // namespace heed::nn
