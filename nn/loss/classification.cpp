#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>
#include <heed/nn/loss/classification.h>

#include <cmath>
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

Tensor BiTempered::operator()(Tensor const& logits, Tensor const& targets) const {
  check_operands("bi-tempered", operands, logits, targets);
  check(t1 >= 0 && t1 <= 1 && t2 >= 1 && std::isfinite(t2), "bi-tempered", [&] {
    return Complaint{fmt::format("expected t1 from 0 to 1 and t2 of 1 or more, got {} and {}", t1, t2),
                     "0.8 and 1.2 are usual"};
  });
  Tensor p = t2 == 1 ? softmax(logits) : Tensor();
  if (t2 != 1) {
    auto const power = [this](Tensor const& x) { return pow(1. - x * (t2 - 1), -1 / (t2 - 1)); };
    Tensor shift, slope;
    {  // Σ exp_t(x − λ) = 1, by the iteration of the paper
      NoGrad const off;
      Tensor const most = amax(logits, {-1}, true), low = logits - most;
      Tensor x = low;
      for (int i = 0; i < 30; ++i) x = low * pow(sum(power(x), {-1}, true), 1 - t2);
      shift = most + (pow(sum(power(x), {-1}, true), t2 - 1) - 1.) / (t2 - 1);
      slope = sum(pow(power(logits - shift), t2), {-1}, true);
    }
    // A step of Newton's: λ's own gradient.
    p = power(logits - (shift + (sum(power(logits - shift), {-1}, true) - 1.) / slope));
  }
  Tensor const index = where(targets == ignore_index, int64_t{0}, targets).unsqueeze(-1),
               own = gather(p, -1, index).squeeze(-1);
  Tensor const near = t1 == 1 ? -log(own) : (1. - pow(own, 1 - t1)) / (1 - t1);
  Tensor const each = near - (1. - sum(pow(p, 2 - t1), {-1})) / (2 - t1);
  return over_rows(where(targets == ignore_index, 0.0, each), targets, ignore_index, Reduction::mean);
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
