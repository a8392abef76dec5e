#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/optim/rules/lbfgs.h>
#include <heed/optim/rules/matrices.h>

namespace heed::optim {

LBFGS::LBFGS(std::vector<ParameterGroup>&& groups, LBFGSConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("lbfgs", config_);
  check(config.iterations >= 1 && config.history >= 1, "lbfgs", [&] {
    return Complaint{
        fmt::format("expected iterations and history of 1 or more, got {} and {}", config.iterations, config.history),
        "use 20 and 10"};
  });
  int64_t n = 0;
  Tensor first;
  for (ParameterGroup const& group : this->groups())
    for (auto const& [name, p] : group.parameters) {
      if (!first.defined()) first = p;
      check(wide(p) == wide(first) && p.device() == first.device(), "lbfgs", [&] {
        return Complaint{fmt::format("'{}' is of another type or device than the first parameter", name),
                         "train parameters of one kind"};
      });
      n += p.numel();
    }
  s_ = add_tensor("history_s", zeros_for(first, {config.history, n}));
  y_ = add_tensor("history_y", zeros_for(first, {config.history, n}));
  previous_ = add_tensor("previous_gradient", zeros_for(first, {n}));
  direction_ = add_tensor("direction", zeros_for(first, {n}));
  numbers_ = add_tensor("progress", zeros({4}, Dtype::f64)).data<double>();
}

void LBFGS::apply(double) {
  fail("lbfgs", {"it evaluates the loss several times a step, but was given no closure",
                 "call step(closure), which evaluates the loss and its gradients"});
}

/// A group's rate scale s stands for parameters θ/√s, in which its gradient is √s·g and its step d is √s·d of θ.
LBFGS::Point LBFGS::evaluate(Closure const& closure, Evaluation* seen) {
  Evaluation const now = closure();
  if (seen) *seen = now;
  Point point{now.loss, {}};
  std::vector<Tensor> flat;
  for (ParameterGroup const& group : groups())
    for (auto const& parameter : group.parameters) {
      Tensor const p = parameter.tensor.detach().to(s_.dtype());
      Tensor g = parameter.tensor.grad();
      g = g.defined() ? g.detach().to(s_.dtype()) * now.gradient_scale : zeros_like(p);
      if (group.weight_decay != 0) {
        g = g + p * group.weight_decay;
        point.loss += 0.5 * group.weight_decay * sum(heed::square(p)).item();
      }
      flat.push_back(g.flatten() * std::sqrt(group.rate_scale));
    }
  point.gradient = cat(flat);
  return point;
}

void LBFGS::move(Tensor const& direction, double length) {
  int64_t at = 0;
  for (ParameterGroup const& group : groups())
    for (auto const& parameter : group.parameters) {
      Tensor p = parameter.tensor.detach();
      Tensor const step = direction.slice(0, at, at + p.numel()).reshape(p.shape());
      p.copy_(p.to(s_.dtype()) + step * (length * std::sqrt(group.rate_scale)));
      at += p.numel();
    }
}

/// −H·g
Tensor LBFGS::direction(Tensor const& gradient) {
  int64_t const kept = int64_t(numbers_[1]);
  std::vector<double> alpha(static_cast<size_t>(kept)), rho(alpha);
  Tensor q = -gradient;
  for (int64_t i = kept; i-- > 0;) {
    rho[size_t(i)] = 1 / dot(y_.at(i), s_.at(i)).item();
    alpha[size_t(i)] = dot(s_.at(i), q).item() * rho[size_t(i)];
    q = q - y_.at(i) * alpha[size_t(i)];
  }
  q = q * numbers_[3];
  for (int64_t i = 0; i < kept; ++i) q = q + s_.at(i) * (alpha[size_t(i)] - dot(y_.at(i), q).item() * rho[size_t(i)]);
  return q;
}

Evaluation LBFGS::search(Closure const& closure) {
  Evaluation first;
  Point now = evaluate(closure, &first);
  double &count = numbers_[0], &kept = numbers_[1], &length = numbers_[2], &scale = numbers_[3];
  auto const largest = [](Tensor const& x) { return max(abs(x)).item(); };
  int64_t evaluations = 1;
  int64_t const most = config_.iterations * 5 / 4;
  for (int64_t n = 1; n <= config_.iterations && largest(now.gradient) > config_.gradient_tolerance; ++n) {
    if (++count == 1) {
      scale = 1;
    } else {
      Tensor const y = now.gradient - previous_, s = direction_ * length;
      double const ys = dot(y, s).item();
      if (ys > 1e-10) {
        if (kept == double(config_.history)) {
          s_.copy_(cat({s_.slice(0, 1, config_.history), s_.slice(0, 0, 1)}));
          y_.copy_(cat({y_.slice(0, 1, config_.history), y_.slice(0, 0, 1)}));
          --kept;
        }
        s_.at(int64_t(kept)).copy_(s);
        y_.at(int64_t(kept)).copy_(y);
        ++kept;
        scale = ys / dot(y, y).item();
      }
    }
    direction_.copy_(direction(now.gradient));
    previous_.copy_(now.gradient);
    length = count == 1 ? std::min(1., 1 / sum(abs(now.gradient)).item()) * learning_rate() : learning_rate();
    double const slope = dot(now.gradient, direction_).item(), before = now.loss;
    if (slope > -config_.change_tolerance) break;
    move(direction_, length);
    if (n == config_.iterations && !config_.line_search) break;  // nothing is asked of the gradient there
    now = evaluate(closure, nullptr);
    ++evaluations;
    for (int halvings = 0; config_.line_search && halvings < 20 && !(now.loss <= before + 1e-4 * length * slope);
         ++halvings) {
      move(direction_, -0.5 * length);
      length *= 0.5;
      now = evaluate(closure, nullptr);
      ++evaluations;
    }
    if (evaluations >= most || largest(direction_) * length <= config_.change_tolerance ||
        std::abs(now.loss - before) < config_.change_tolerance)
      break;
  }
  return first;
}

}  // namespace heed::optim
