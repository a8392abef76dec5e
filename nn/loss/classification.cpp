#include <heed/nn/loss/classification.h>

#include <numbers>

namespace heed::nn::loss {
namespace {

Tensor row_losses(Tensor const& logits, Tensor const& targets, int64_t ignore_index, Tensor const& weight = {}) {
  return cross_entropy(logits, targets, {.ignore_index = ignore_index, .reduction = Reduction::none, .weight = weight});
}

/// The mean over rows that count, each for as much as its class weighs.
Tensor over_rows(Tensor const& each, Tensor const& targets, int64_t ignore_index, Reduction reduction,
                 Tensor const& weight = {}) {
  if (reduction != Reduction::mean) return reduced(each, reduction);
  Tensor const counts = targets != ignore_index;
  if (!weight.defined()) return sum(each) / sum(counts).to(each.dtype());
  return sum(each) / sum(where(counts, take(weight, where(counts, targets, 0)), 0.0));
}

}  // namespace

Tensor Jsd::operator()(Tensor const& p, Tensor const& q) const {
  check_operands("jsd", operands, p, q);
  Tensor const a = log_softmax(p), b = log_softmax(q), m = logaddexp(a, b) - std::numbers::ln2;
  return reduced(sum(exp(a) * (a - m) + exp(b) * (b - m), {-1}) * 0.5, reduction);
}

Tensor Focal::operator()(Tensor const& logits, Tensor const& targets, Tensor const& weight) const {
  check_operands("focal", operands, logits, targets, weight);
  Tensor each = row_losses(logits, targets, ignore_index, weight);
  // Rows that count for nothing have p = 1: kept from 0, where the slope of a broken power is infinite.
  if (gamma != 0) {
    Tensor const plain = weight.defined() ? row_losses(logits, targets, ignore_index) : each;
    each = pow(clamp_min(-expm1(-plain), 1e-12), gamma) * each;
  }
  return over_rows(each, targets, ignore_index, reduction, weight);
}

Tensor GeneralizedCrossEntropy::operator()(Tensor const& logits, Tensor const& targets) const {
  check_operands("gce", operands, logits, targets);
  return over_rows(expm1(row_losses(logits, targets, ignore_index) * -q) * (-1 / q), targets, ignore_index, reduction);
}

Tensor Bootstrapping::operator()(Tensor const& logits, Tensor const& targets) const {
  check_operands("bootstrapping", operands, logits, targets);
  Tensor const log_p = log_softmax(logits), entropy = -sum(exp(log_p) * log_p, {-1});
  Tensor const each =
      row_losses(logits, targets, ignore_index) * beta + where(targets != ignore_index, entropy, 0.0) * (1 - beta);
  return over_rows(each, targets, ignore_index, Reduction::mean);
}

Tensor Ldam::operator()(Tensor const& logits, Tensor const& targets, Tensor const& counts) const {
  check_operands("ldam", operands, logits, targets, counts);
  Tensor const margins = pow(min(counts) / counts, 0.25) * max_margin;
  return cross_entropy((logits - one_hot(targets, logits.size(1)).to(logits.dtype()) * margins) * scale, targets);
}

Tensor Asymmetric::operator()(Tensor const& logits, Tensor const& target) const {
  check_operands("asymmetric", operands, logits, target);
  Tensor const p = sigmoid(logits), of_negative = relu(p - clip);
  Tensor positive = log_sigmoid(logits), negative = clip == 0 ? log_sigmoid(-logits) : log1p(-of_negative);
  if (gamma_pos != 0) positive = positive * pow(sigmoid(-logits), gamma_pos);
  if (gamma_neg != 0) negative = negative * pow(of_negative, gamma_neg);
  return reduced(-(target * positive + (1 - target) * negative), reduction);
}

}  // namespace heed::nn::loss
