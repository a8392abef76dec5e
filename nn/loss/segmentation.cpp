#include <heed/nn/loss/segmentation.h>

namespace heed::nn::loss {
namespace {

/// Σ sorted errors · Jaccard's steps, row by row: errors [C, M], inside [C, M] of 0 and 1 → [C].
Tensor lovasz(Tensor const& errors, Tensor const& inside) {
  auto const [sorted, order] = sort(errors, 1, true);
  Tensor const truth = gather(inside.detach(), 1, order);
  Tensor const total = sum(truth, {1}, true);
  Tensor const cost = 1 - (total - cumsum(truth, 1)) / clamp_min(total + cumsum(1 - truth, 1), 1e-12);
  Tensor const before = pad(cost, {1, -1});
  return sum(sorted * (cost - before), {1});
}

}  // namespace

Tensor Tversky::operator()(Tensor const& logits, Tensor const& target) const {
  check_operands("tversky", operands, logits, target);
  Tensor const p = sigmoid(logits).flatten(1), t = target.flatten(1);
  Tensor const hit = sum(p * t, {1});
  Tensor const rest = (sum(p, {1}) - hit) * alpha + (sum(t, {1}) - hit) * beta;
  return reduced(1 - (hit + smooth) / (hit + rest + smooth), reduction);
}

Tensor LovaszSoftmax::operator()(Tensor const& logits, Tensor const& targets) const {
  check_operands("lovasz-softmax", operands, logits, targets);
  int64_t const classes = logits.size(-1);
  Tensor const p = softmax(logits).reshape({-1, classes}).t();
  Tensor const inside = one_hot(targets.reshape({-1}), classes).to(p.dtype()).t();
  Tensor const occurs = (sum(inside, {1}) > 0.0).to(p.dtype());
  return sum(lovasz(abs(inside - p), inside) * occurs) / clamp_min(sum(occurs), 1.0);
}

Tensor LovaszHinge::operator()(Tensor const& score, Tensor const& target) const {
  check_operands("lovasz-hinge", operands, score, target);
  Tensor const signs = target.reshape({1, -1});
  return sum(lovasz(relu(1 - signs * score.reshape({1, -1})), (signs > 0.0).to(score.dtype())));
}

}  // namespace heed::nn::loss
