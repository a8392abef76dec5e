// Training on the worst inputs nearby. Tokens have none: their embeddings are moved. Each look for a worse place is a
// forward and a backward of its own.
#pragma once

#include <heed/nn/hooks.h>
#include <heed/nn/regularize/labels.h>
#include <heed/nn/regularize/outputs.h>

namespace heed::nn {

struct AdversarialConfig {
  double weight = 0.5, radius = 0.02;
  std::string at = std::string(at_embedding);
  void visit(ConfigVisitor& v);
};

/// Passes a batch again, moved by some δ: numbers themselves, tokens by what `at` gives. It stands last among those
/// that change batches.
class Adversarial : public Regularizer {
 public:
  ~Adversarial() override { hook_.remove(); }
  /// An Error where the model is no GPT and no forward was given.
  void begin(Module& model) override;
  void batch(Tensor& inputs, Tensor&, Generator&) override { inputs_ = inputs; }
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 protected:
  Adversarial(std::string_view name, AdversarialConfig const& config, Forward forward);
  /// The loss in place of `loss`, where the weight is not 0.
  virtual Tensor changed(Tensor const& loss, Tensor const& targets) = 0;
  /// What the model makes of the batch moved by delta; an undefined one becomes zeros, a leaf.
  Tensor moved(Tensor& delta);
  double weight() const { return config_.weight; }
  double radius() const { return config_.radius; }

 private:
  std::string_view name_;
  AdversarialConfig config_;
  Forward forward_;
  HookHandle hook_;
  Tensor inputs_, *delta_ = nullptr;
};

/// (1 − weight)·loss + weight·CE(x + δ), δ = radius·sign of the loss's gradient (Goodfellow et al., 2015; on
/// embeddings Miyato et al., 2017).
class Fgsm final : public Adversarial {
 public:
  using Config = AdversarialConfig;
  explicit Fgsm(Config const& config, Forward forward = {}) : Adversarial("fgsm", config, std::move(forward)) {}

 protected:
  Tensor changed(Tensor const& loss, Tensor const& targets) override;
};

struct AdversarialStepsConfig : AdversarialConfig {
  int64_t steps = 3;
  double rate = 0.01;
  void visit(ConfigVisitor& v);
};

/// The same with δ of several steps δ ← clamp(δ + rate·sign g, ±radius), from 0 (Madry et al., 2018).
class Pgd final : public Adversarial {
 public:
  using Config = AdversarialStepsConfig;
  explicit Pgd(Config const& config, Forward forward = {});

 protected:
  Tensor changed(Tensor const& loss, Tensor const& targets) override;

 private:
  int64_t steps_;
  double rate_;
};

/// (1 − weight)·loss + weight·mean over the steps of CE(x + δ): δ from a random place goes along g/|g| for each sample,
/// no farther than radius, and every place on its way counts (Zhu et al., 2020).
class FreeLB final : public Adversarial {
 public:
  struct Config : AdversarialStepsConfig {
    Config() { radius = 0.3, rate = 0.1; }
  };
  explicit FreeLB(Config const& config, Forward forward = {});

 protected:
  Tensor changed(Tensor const& loss, Tensor const& targets) override;

 private:
  int64_t steps_;
  double rate_;
};

/// loss + weight·mean KL(p(x)‖p(x + δ)), δ of length radius for each sample in the direction in which p changes most,
/// found by `steps` power iterations from a random one (Miyato et al., 2018): needs no labels.
class Vat final : public Adversarial {
 public:
  struct Config : AdversarialStepsConfig {
    Config() { weight = 1, radius = 0.3, steps = 1, rate = 1e-3; }
  };
  explicit Vat(Config const& config, Forward forward = {});

 protected:
  Tensor changed(Tensor const& loss, Tensor const& targets) override;

 private:
  int64_t steps_;
  double rate_;
};

}  // namespace heed::nn
