// Losses of classes. Means are over rows; rows whose target is ignore_index count for nothing.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/loss/operands.h>

namespace heed::nn::loss {

/// −log softmax(logits)[target], weights of classes optional; label smoothing ε mixes in the uniform distribution
/// (Szegedy et al., 2016): (1 − ε)·CE + ε·mean(−log p).
struct CrossEntropy {
  static constexpr std::string_view operands = "logits [.., C]; targets index C [..]; weight? positive [C]";
  double label_smoothing = 0;
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) {
    v.field("label_smoothing", label_smoothing, "weight of the uniform distribution, 0 to 1");
    v.field("ignore_index", ignore_index, "rows with this target count for nothing");
  }
  Tensor operator()(Tensor const& logits, Tensor const& targets, Tensor const& weight = {}) const {
    check_operands("cross-entropy", operands, logits, targets, weight);
    return cross_entropy(
        logits, targets,
        {.ignore_index = ignore_index, .label_smoothing = label_smoothing, .reduction = reduction, .weight = weight});
  }
};

/// CE of linear(x, weight, bias), whose logits are never held (Wijmans et al., 2024): for large vocabularies.
struct LinearCrossEntropy {
  static constexpr std::string_view operands = "x [.., K]; targets index C [..]; weight [C, K]; bias? [C]";
  double label_smoothing = 0;
  int64_t ignore_index = -100;
  void visit(ConfigVisitor& v) {
    v.field("label_smoothing", label_smoothing, "weight of the uniform distribution, 0 to 1");
    v.field("ignore_index", ignore_index, "rows with this target count for nothing");
  }
  Tensor operator()(Tensor const& x, Tensor const& targets, Tensor const& weight, Tensor const& bias = {}) const {
    check_operands("linear-cross-entropy", operands, x, targets, weight, bias);
    return linear_cross_entropy(x, targets, weight, bias,
                                {.ignore_index = ignore_index, .label_smoothing = label_smoothing});
  }
};

/// −log_p[target] of log-probabilities.
struct Nll {
  static constexpr std::string_view operands = "log_p logp [N, C]; targets index C [N]; weight? positive [C]";
  int64_t ignore_index = -100;
  void visit(ConfigVisitor& v) { v.field("ignore_index", ignore_index, "rows with this target count for nothing"); }
  Tensor operator()(Tensor const& log_p, Tensor const& targets, Tensor const& weight = {}) const {
    check_operands("nll", operands, log_p, targets, weight);
    return nll_loss(log_p, targets, {.weight = weight, .ignore_index = ignore_index});
  }
};

/// −target·log input − (1 − target)·log(1 − input) of probabilities.
struct Bce {
  static constexpr std::string_view operands = "input unit [..]; target unit [..]";
  Reduction reduction = Reduction::mean;
  Tensor operator()(Tensor const& input, Tensor const& target) const {
    check_operands("bce", operands, input, target);
    return binary_cross_entropy(input, target, {}, reduction);
  }
};

/// BCE of σ(logits), without its overflow; pos_weight, of each class, is for rare ones.
struct BceLogits {
  static constexpr std::string_view operands = "logits [.., C]; target unit [.., C]; pos_weight? positive [C]";
  Reduction reduction = Reduction::mean;
  Tensor operator()(Tensor const& logits, Tensor const& target, Tensor const& pos_weight = {}) const {
    check_operands("bce-logits", operands, logits, target, pos_weight);
    return binary_cross_entropy_with_logits(logits, target, {.pos_weight = pos_weight, .reduction = reduction});
  }
};

/// KL(target‖p) = Σ target·(log target − log_p), the mean over rows (Kullback and Leibler, 1951).
struct KlDiv {
  static constexpr std::string_view operands = "log_p logp [.., C]; target simplex [.., C]";
  Reduction reduction = Reduction::mean;
  Tensor operator()(Tensor const& log_p, Tensor const& target) const {
    check_operands("kl-div", operands, log_p, target);
    return reduced(sum(kl_div(log_p, target, {.reduction = Reduction::none}), {-1}), reduction);
  }
};

/// (KL(p‖m) + KL(q‖m))/2 with m = (p + q)/2, p and q the softmaxes of the logits, mean over rows: symmetric, between 0
/// and log 2 (Lin, 1991).
struct Jsd {
  static constexpr std::string_view operands = "p [.., C]; q [.., C]";
  Reduction reduction = Reduction::mean;
  Tensor operator()(Tensor const& p, Tensor const& q) const;
};

/// (1 − p)^gamma·CE with p the target's probability: rows that are right already weigh less (Lin et al., 2017).
/// gamma = 0 is CE.
struct Focal {
  static constexpr std::string_view operands = "logits [.., C]; targets index C [..]; weight? positive [C]";
  double gamma = 2;
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) {
    v.field("gamma", gamma, "how strongly easy rows are discounted; 0: not at all");
    v.field("ignore_index", ignore_index, "rows with this target count for nothing");
  }
  Tensor operator()(Tensor const& logits, Tensor const& targets, Tensor const& weight = {}) const;
};

/// (1 − p^q)/q with p the target's probability: between CE (q → 0) and MAE (q = 1), for noisy labels (Zhang and
/// Sabuncu, 2018).
struct GeneralizedCrossEntropy {
  static constexpr std::string_view operands = "logits [.., C]; targets index C [..]";
  double q = 0.7;
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) {
    v.field("q", q, "above 0 (cross-entropy) to 1 (mean absolute error)");
    v.field("ignore_index", ignore_index, "rows with this target count for nothing");
  }
  Tensor operator()(Tensor const& logits, Tensor const& targets) const;
};

/// −log_{t1} p − (1 − Σ p^(2 − t1))/(2 − t1), p = exp_{t2}(x − λ) with λ such that Σ p = 1, log_t x = (x^(1 − t) −
/// 1)/(1 − t) and exp_t its inverse (Amid et al., 2019): t1 below 1 bounds the loss of wrong labels, t2 above 1
/// thickens tails.
struct BiTempered {
  static constexpr std::string_view operands = "logits [.., C]; targets index C [..]";
  double t1 = 0.8, t2 = 1.2;
  int64_t ignore_index = -100;
  void visit(ConfigVisitor& v) {
    v.field("t1", t1, "of the logarithm, 0 to 1 (cross-entropy's)");
    v.field("t2", t2, "of the exponential, 1 (softmax) or more");
    v.field("ignore_index", ignore_index, "rows with this target count for nothing");
  }
  Tensor operator()(Tensor const& logits, Tensor const& targets) const;
};

/// beta·CE + (1 − beta)·H(p): the target is mixed with what the model itself believes (Reed et al., 2015, soft form),
/// for noisy labels. beta = 1 is CE.
struct Bootstrapping {
  static constexpr std::string_view operands = "logits [.., C]; targets index C [..]";
  double beta = 0.95;
  int64_t ignore_index = -100;
  void visit(ConfigVisitor& v) {
    v.field("beta", beta, "weight of the given labels, 0 to 1");
    v.field("ignore_index", ignore_index, "rows with this target count for nothing");
  }
  Tensor operator()(Tensor const& logits, Tensor const& targets) const;
};

/// CE of logits whose target's is lower by Δ_y = max_margin·(min counts/counts_y)^¼, all times scale: rare classes get
/// wider margins (Cao et al., 2019). max_margin = 0, scale = 1 is CE.
struct Ldam {
  static constexpr std::string_view operands = "logits [N, C]; targets index C [N]; counts positive [C]";
  double max_margin = 0.5, scale = 30;
  void visit(ConfigVisitor& v) {
    v.field("max_margin", max_margin, "of the rarest class, units of the logits");
    v.field("scale", scale, "of the logits after the margin");
  }
  Tensor operator()(Tensor const& logits, Tensor const& targets, Tensor const& counts) const;
};

/// −t·(1 − p)^gamma_pos·log p − (1 − t)·p_m^gamma_neg·log(1 − p_m), p = σ(logits), p_m = max(p − clip, 0): easy
/// negatives, most of many labels, weigh nothing (Ridnik et al., 2021). All 0 is BCE.
struct Asymmetric {
  static constexpr std::string_view operands = "logits [.., C]; target unit [.., C]";
  double gamma_pos = 0, gamma_neg = 4, clip = 0.05;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) {
    v.field("gamma_pos", gamma_pos, "how strongly easy positives are discounted");
    v.field("gamma_neg", gamma_neg, "how strongly easy negatives are discounted");
    v.field("clip", clip, "negatives below this probability count for nothing");
  }
  Tensor operator()(Tensor const& logits, Tensor const& target) const;
};

/// weight·(log Σ exp logits)²: keeps logits from drifting (Chowdhery et al., 2022); it is added to CE.
struct ZLoss {
  static constexpr std::string_view operands = "logits [.., C]";
  double weight = 1e-4;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("weight", weight, "factor"); }
  Tensor operator()(Tensor const& logits) const {
    check_operands("z-loss", operands, logits);
    return reduced(square(logsumexp(logits, -1)) * weight, reduction);
  }
};

/// max(0, margin − target·score)^power: power 1 is the support vector machine's (Cortes and Vapnik, 1995), 2 its
/// square.
struct Hinge {
  static constexpr std::string_view operands = "score [..]; target sign [..]";
  double margin = 1, power = 1;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) {
    v.field("margin", margin, "from which on a score is right enough");
    v.field("power", power, "1: hinge, 2: squared hinge");
  }
  Tensor operator()(Tensor const& score, Tensor const& target) const {
    check_operands("hinge", operands, score, target);
    Tensor const short_of = relu(margin - target * score);
    return reduced(power == 1 ? short_of : pow(short_of, power), reduction);
  }
};

/// log(1 + exp(−target·score)): logistic regression.
struct SoftMargin {
  static constexpr std::string_view operands = "score [..]; target sign [..]";
  Tensor operator()(Tensor const& score, Tensor const& target) const {
    check_operands("soft-margin", operands, score, target);
    return soft_margin_loss(score, target);
  }
};

/// 1/C·Σ_{i≠y} max(0, margin − x_y + x_i)^p (Crammer and Singer, 2001)
struct MultiMargin {
  static constexpr std::string_view operands = "logits [N, C]; targets index C [N]; weight? positive [C]";
  double margin = 1;
  int64_t p = 1;
  void visit(ConfigVisitor& v) {
    v.field("margin", margin, "by which the target's score must lead");
    v.field("p", p, "1 or 2");
  }
  Tensor operator()(Tensor const& logits, Tensor const& targets, Tensor const& weight = {}) const {
    check_operands("multi-margin", operands, logits, targets, weight);
    return multi_margin_loss(logits, targets, {.p = double(p), .margin = margin, .weight = weight});
  }
};

/// BCE of logits, the mean over classes, then over rows: several labels a row.
struct MultilabelSoftMargin {
  static constexpr std::string_view operands = "logits [N, C]; target unit [N, C]; weight? positive [C]";
  Tensor operator()(Tensor const& logits, Tensor const& target, Tensor const& weight = {}) const {
    check_operands("multilabel-soft-margin", operands, logits, target, weight);
    return multilabel_soft_margin_loss(logits, target, weight);
  }
};

/// 1/C·Σ max(0, 1 − x_j + x_i) over targets j and others i; targets list classes up to the first −1.
struct MultilabelMargin {
  static constexpr std::string_view operands = "logits [N, C]; targets index C [N, C]";
  Tensor operator()(Tensor const& logits, Tensor const& targets) const {
    check_operands("multilabel-margin", operands, logits, targets);
    return multilabel_margin_loss(logits, targets);
  }
};

}  // namespace heed::nn::loss
