#include <heed/nn/loss/metric.h>

#include <cmath>
#include <numbers>

namespace heed::nn::loss {
namespace {

Tensor cosines(Tensor const& a, Tensor const& b) { return matmul(normalize(a, 2, -1), normalize(b, 2, -1).t()); }

/// Of x with itself, −∞ on the diagonal: no row is its own neighbour.
Tensor other_cosines(Tensor const& x, double temperature) {
  Tensor const self = eye(x.size(0), -1, x.dtype(), x.device()) != 0;
  return masked_fill(cosines(x, x) / temperature, self, -INFINITY);
}

}  // namespace

Tensor InfoNce::operator()(Tensor const& queries, Tensor const& keys) const {
  check_operands("info-nce", operands, queries, keys);
  Tensor const logits = cosines(queries, keys) / temperature, own = arange(queries.size(0), queries.device());
  Tensor const forward = cross_entropy(logits, own);
  return symmetric ? (forward + cross_entropy(logits.t(), own)) * 0.5 : forward;
}

Tensor NtXent::operator()(Tensor const& a, Tensor const& b) const {
  check_operands("nt-xent", operands, a, b);
  int64_t const n = a.size(0);
  return cross_entropy(other_cosines(cat({a, b}), temperature), roll(arange(2 * n, a.device()), n));
}

Tensor SupCon::operator()(Tensor const& features, Tensor const& labels) const {
  check_operands("sup-con", operands, features, labels);
  Tensor const self = eye(features.size(0), -1, features.dtype(), features.device()) != 0;
  Tensor const alike = logical_and(labels.unsqueeze(1) == labels.unsqueeze(0), logical_not(self));
  Tensor const log_p = log_softmax(other_cosines(features, temperature));
  Tensor const friends = sum(alike, {1}).to(features.dtype());
  Tensor const each = -sum(where(alike, log_p, 0.0), {1}) / clamp_min(friends, 1.0);
  return sum(each) / clamp_min(sum(friends > 0.0).to(features.dtype()), 1.0);
}

Tensor ArcFace::operator()(Tensor const& x, Tensor const& weight, Tensor const& targets) const {
  check_operands("arc-face", operands, x, weight, targets);
  Tensor const cosine = cosines(x, weight);
  Tensor const own = gather(cosine, 1, targets.unsqueeze(1));
  // sin θ, kept from the corner where its slope is infinite
  Tensor const sine = sqrt(clamp_min(1 - square(own), 1e-12));
  Tensor const turned = where(own > std::cos(std::numbers::pi - margin),
                              own * std::cos(margin) - sine * std::sin(margin), own - margin * std::sin(margin));
  return cross_entropy(scatter(cosine, 1, targets.unsqueeze(1), turned) * scale, targets);
}

}  // namespace heed::nn::loss
