// Rules of elements that need numbers of the whole model, or gradients elsewhere.
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/random.h>
#include <heed/optim/rules/prodigy.h>
#include <heed/optim/rules/sophia.h>

#include <algorithm>

namespace heed::optim {
namespace {

Tensor wide(Tensor const& x) { return is_half(x.dtype()) ? x.to(Dtype::f32) : x; }

/// f(parameter, its place, its group) for every parameter that has a gradient.
template <class F>
void each_learning(std::vector<ParameterGroup> const& groups, F const& f) {
  size_t index = 0;
  for (ParameterGroup const& group : groups)
    for (auto const& [name, parameter] : group.parameters) {
      if (parameter.grad().defined()) f(parameter, index, group);
      ++index;
    }
}

}  // namespace

Sophia::Sophia(std::vector<ParameterGroup>&& groups, SophiaConfig const& config)
    : PointwiseOptimizer(std::move(groups), config.learning_rate, "exp_avg curvature"), config_(config) {
  check_settings("sophia", config_);
  check(config.every >= 1 && config.radius > 0, "sophia", [] {
    return Complaint{"expected every of 1 or more and radius above 0", "leave them out"};
  });
}

void Sophia::apply(double) {
  fail("sophia", {"it needs the gradient at other weights, but was given no closure",
                  "call step(closure), which evaluates the loss and its gradients"});
}

Evaluation Sophia::search(Closure const& closure) {
  Evaluation const first = closure();
  if ((steps() - 1) % config_.every == 0) {
    // Signs follow from the step, so that a run that is resumed draws the same.
    Generator generator(0x50f1a + uint64_t(steps()));
    struct Kept {
      Tensor parameter, value, gradient, sign;
      size_t index;
    };
    std::vector<Kept> all;
    each_learning(groups(), [&](Tensor const& p, size_t index, ParameterGroup const&) {
      Tensor const coin = rand(p.shape(), Dtype::f32, generator, p.device()) < 0.5;
      all.push_back(
          {p, p.detach().clone(), p.grad(), (coin.to(moment(1, index).dtype()) * 2. - 1.).to(p.dtype()), index});
      p.detach().copy_(p.detach() + all.back().sign * config_.radius);
    });
    closure();
    for (auto const& [p, value, gradient, sign, index] : all) {
      Tensor& h = moment(1, index);
      // (θ + ru) − θ, as it was rounded
      Tensor const moved = wide(p.detach()) - wide(value), change = wide(p.grad().detach()) - wide(gradient.detach());
      Tensor const curvature = change / where(moved == 0., 1., moved) * first.gradient_scale;
      h.copy_(heed::lerp(h, curvature.to(h.dtype()), 1 - config_.beta2));
      p.detach().copy_(value);
      p.set_grad(gradient);
    }
  }
  PointwiseOptimizer::apply(first.gradient_scale);
  return first;
}

void Sophia::formula(Element& e) const {
  Symbol& m = e.state[0];
  e.decay_parameter();
  m = lerp(m, e.g, 1 - config_.beta1);
  e.p = e.p - e.rate * min(max(m / max(config_.gamma * e.state[1], config_.eps), -1.), 1.);
}

DistanceOptimizer::DistanceOptimizer(std::vector<ParameterGroup>&& groups, ProdigyConfig const& config,
                                     std::string_view name, std::string_view slots)
    : PointwiseOptimizer(std::move(groups), config.learning_rate, slots), config_(config) {
  check_settings(name, config_);
  numbers_ = add_tensor("distance", zeros({2}, Dtype::f64)).data<double>();
  numbers_[0] = config.first;
}

void DistanceOptimizer::apply(double gradient_scale) {
  double const kept = std::sqrt(config_.beta2), d = distance();
  double& r = numbers_[1];
  r *= kept;
  each_learning(groups(), [&](Tensor const& p, size_t index, ParameterGroup const& group) {
    Tensor const g = wide(p.grad().detach()) * gradient_scale;
    r += (1 - kept) * learning_rate() * group.rate_scale * d *
         sum(correlation(wide(p.detach()), g, index).to(Dtype::f64)).item();
  });
  Optimizer::apply(gradient_scale);
  double length = 0;
  each_learning(groups(), [&](Tensor const&, size_t index, ParameterGroup const&) {
    length += sum(abs(moment(2, index)).to(Dtype::f64)).item();
  });
  if (length > 0) numbers_[0] = std::max(d, found(r / length));
}

Tensor Prodigy::correlation(Tensor const& p, Tensor const& g, size_t index) {
  if (steps() == 1) return zeros({}, g.dtype(), g.device());
  return g * (moment(3, index) - p) * distance();
}

void Prodigy::formula(Element& e) const {
  Symbol &m = e.state[0], &v = e.state[1], &s = e.state[2], &start = e.state[3];
  double const d = distance(), beta1 = config().beta1, beta2 = config().beta2, beta3 = std::sqrt(beta2);
  if (e.first()) start = e.p;
  m = beta1 * m + (1 - beta1) * d * e.g;
  v = beta2 * v + (1 - beta2) * d * d * square(e.g);
  s = beta3 * s + (1 - beta3) * e.rate * d * d * e.g;
  e.p = e.p * (1 - e.rate * d * e.decay) - e.rate * d * m / (sqrt(v) + d * config().eps);
}

Tensor DAdaptation::correlation(Tensor const&, Tensor const& g, size_t index) {
  double const beta2 = config().beta2, eps = config().eps;
  return map([&](auto x, auto v, auto s) { return x * s / (sqrt(beta2 * v + (1 - beta2) * x * x) + eps); }, g,
             moment(1, index), moment(2, index));
}

void DAdaptation::formula(Element& e) const {
  Symbol &m = e.state[0], &v = e.state[1], &s = e.state[2];
  double const d = distance(), beta1 = config().beta1, beta2 = config().beta2, beta3 = std::sqrt(beta2);
  m = beta1 * m + (1 - beta1) * e.rate * d * e.g;
  v = beta2 * v + (1 - beta2) * square(e.g);
  s = beta3 * s + (1 - beta3) * e.rate * d * e.g;
  e.p = e.p * (1 - e.rate * d * e.decay) - m / (sqrt(v) + config().eps);
}

}  // namespace heed::optim
