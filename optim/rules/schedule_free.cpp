#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/optim/rules/schedule_free.h>

namespace heed::optim {

ScheduleFree::ScheduleFree(std::vector<ParameterGroup>&& groups, ScheduleFreeConfig const& config)
    : PointwiseOptimizer(std::move(groups), config.learning_rate, "z x exp_avg_sq"), config_(config) {
  check_settings("schedule-free", config_);
  weight_ = add_tensor("weight_sum", zeros({1}, Dtype::f64)).data<double>();
}

void ScheduleFree::apply(double gradient_scale) {
  double const square = learning_rate() * learning_rate();
  *weight_ += square;
  share_ = *weight_ > 0 ? square / *weight_ : 0;
  Optimizer::apply(gradient_scale);
}

void ScheduleFree::formula(Element& e) const {
  Symbol &z = e.state[0], &x = e.state[1], &v = e.state[2];
  if (e.first()) z = x = e.p;
  v = config_.beta2 * v + (1 - config_.beta2) * square(e.g);
  Symbol step = e.g / (sqrt(v) / std::sqrt(correction(config_.beta2, e.t)) + config_.eps);
  if (e.decay != 0) step = step + e.decay * e.p;
  z = z - e.rate * step;
  x = lerp(x, z, share_);
  e.p = lerp(z, x, config_.beta1);
}

/// Both are functions of the state, computed as the formula does: with the same bits.
void ScheduleFree::show(bool mean) {
  if (steps() == 0) return;
  NoGrad const off;
  size_t index = 0;
  for (ParameterGroup const& group : groups())
    for (auto const& parameter : group.parameters) {
      Tensor const &z = moment(0, index), &x = moment(1, index);
      parameter.tensor.detach().copy_(mean ? x : map([&](auto a, auto b) { return lerp(a, b, config_.beta1); }, z, x));
      ++index;
    }
}

void ScheduleFree::evaluating(bool on) {
  if (on != shows_mean_) show(on);
  shows_mean_ = on;
}

void ScheduleFree::loaded() {
  show(false);
  shows_mean_ = false;
}

}  // namespace heed::optim
