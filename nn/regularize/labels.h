// What changes the targets, or what the loss makes of them. Rows whose target is −100 count for nothing.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/regularize/regularizer.h>

#include <functional>
#include <string>
#include <vector>

namespace heed::nn {

/// The mean of `each` [..] over the rows that count.
Tensor mean_of_rows(Tensor const& each, Tensor const& targets);
/// KL(p‖q) of each row from log p and log q.
Tensor divergence(Tensor const& log_p, Tensor const& log_q);

/// (1 − epsilon)·loss + epsilon·mean(−log p): the targets are mixed with the uniform distribution (Szegedy et al.,
/// 2016).
class LabelSmoothing final : public Regularizer {
 public:
  struct Config {
    double epsilon = 0.1;
    void visit(ConfigVisitor& v) { v.field("epsilon", epsilon, "weight of the uniform distribution, 0 to below 1"); }
  };
  explicit LabelSmoothing(Config const& config);
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 private:
  double epsilon_;
};

/// loss − weight·mean H(p): sure predictions cost (Pereyra et al., 2017).
class ConfidencePenalty final : public Regularizer {
 public:
  struct Config {
    double weight = 0.1;
    void visit(ConfigVisitor& v) { v.field("weight", weight, "of the entropy"); }
  };
  explicit ConfidencePenalty(Config const& config) : weight_(config.weight) {}
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 private:
  double weight_;
};

/// (1 − p^q)/q in place of cross-entropy, p the target's probability: wrong labels weigh less (Zhang and Sabuncu,
/// 2018).
class NoisyLabels final : public Regularizer {
 public:
  struct Config {
    double q = 0.7;
    void visit(ConfigVisitor& v) { v.field("q", q, "above 0 (cross-entropy) to 1 (mean absolute error)"); }
  };
  explicit NoisyLabels(Config const& config);
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 private:
  double q_;
};

/// loss::BiTempered in place of cross-entropy: wrong labels weigh no more than so much (Amid et al., 2019).
class BiTemperedLabels final : public Regularizer {
 public:
  struct Config {
    double t1 = 0.8, t2 = 1.2;
    void visit(ConfigVisitor& v) {
      v.field("t1", t1, "of the logarithm, 0 to 1 (cross-entropy's)");
      v.field("t2", t2, "of the exponential, 1 (softmax) or more");
    }
  };
  explicit BiTemperedLabels(Config const& config) : config_(config) {}
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 private:
  Config config_;
};

/// loss + (1 − beta)·mean(H(p) − CE): the labels are mixed with what the model believes (Reed et al., 2015).
class BootstrappedLabels final : public Regularizer {
 public:
  struct Config {
    double beta = 0.95;
    void visit(ConfigVisitor& v) { v.field("beta", beta, "weight of the given labels, 0 to 1"); }
  };
  explicit BootstrappedLabels(Config const& config) : beta_(config.beta) {}
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 private:
  double beta_;
};

/// Every batch twice, with other drops, loss + weight/2·(KL(p‖q) + KL(q‖p)) between both (Wu et al., 2021): stands last
/// among those that change batches, and needs a model that drops. Without drops it adds 0.
class RDrop final : public Regularizer {
 public:
  struct Config {
    double weight = 1;
    void visit(ConfigVisitor& v) { v.field("weight", weight, "of the divergence"); }
  };
  explicit RDrop(Config const& config) : weight_(config.weight) {}
  void batch(Tensor& inputs, Tensor& targets, Generator&) override;
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 private:
  double weight_;
};

/// What runs a model on inputs, for those that need more than one look.
using Forward = std::function<Tensor(Tensor const& inputs)>;

/// (1 − weight)·loss + weight·temperature²·mean KL(teacher‖student), both softened by the temperature (Hinton et al.,
/// 2015). Equal logits have no gradient. It stands last among those that change batches.
class Distillation : public Regularizer {
 public:
  struct Config {
    double weight = 0.5, temperature = 2;
    std::string teacher = "";
    void visit(ConfigVisitor& v) {
      v.field("weight", weight, "of the teacher, 0 to 1");
      v.field("temperature", temperature, "divides both logits");
      v.field("teacher", teacher, "file with the weights of a model of the same shape; none: the weights at the start");
    }
  };
  /// Teaches by `teacher`, or, if none is given, by the model itself with other weights.
  explicit Distillation(Config const& config, Forward teacher = {});
  /// An Error where the model is no GPT and no teacher was given, or the file does not fit.
  void begin(Module& model) override;
  void batch(Tensor& inputs, Tensor& targets, Generator&) override;
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;
  std::vector<NamedTensor> state() override { return weights_; }

 protected:
  std::vector<NamedTensor> weights_;  // of the teacher, where it is the model itself

 private:
  Config config_;
  Forward teacher_;
  Module* model_ = nullptr;
  Tensor taught_;  // the teacher's logits of the present batch
};

/// Distillation by the running average of the model's own weights (Tarvainen and Valpola, 2017): loss + weight·KL.
class MeanTeacher final : public Distillation {
 public:
  struct Config {
    double weight = 0.5, temperature = 1, decay = 0.99;
    void visit(ConfigVisitor& v) {
      v.field("weight", weight, "of the teacher, 0 to 1");
      v.field("temperature", temperature, "divides both logits");
      v.field("decay", decay, "of the teacher's weights at each step, 0 to below 1");
    }
  };
  explicit MeanTeacher(Config const& config);
  void stepped(Module& model, int64_t step) override;

 private:
  double decay_;
};

}  // namespace heed::nn
