#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/optim/rules/cautious.h>
#include <heed/optim/rules/cautious_decay.h>
#include <heed/optim/rules/lookahead.h>
#include <heed/optim/rules/sam.h>

namespace heed::optim {

Lookahead::Lookahead(std::unique_ptr<Optimizer> inner, LookaheadConfig const& config)
    : Wrapper(std::move(inner)), config_(config) {
  check_settings("lookahead", config_);
  check(config.k >= 1 && config.share <= 1, "lookahead", [] {
    return Complaint{"expected k of 1 or more and share from 0 to 1", "use k=5,share=0.5"};
  });
  add_slot("slow");
}

void Lookahead::begin() {
  if (steps() != 1) return;
  for_each([&](Tensor const& p, Tensor const&, size_t i, auto const&) { moment(0, i).copy_(p); });
}

void Lookahead::follow() {
  if (steps() % config_.k != 0) return;
  for_each([&](Tensor p, Tensor const&, size_t i, auto const&) {
    Tensor& slow = moment(0, i);
    slow.copy_(heed::lerp(slow, p.to(slow.dtype()), config_.share));
    p.copy_(slow);
  });
}

SAM::SAM(std::unique_ptr<Optimizer> inner, SAMConfig const& config) : Wrapper(std::move(inner)), config_(config) {
  check_settings("sam", config_);
}

void SAM::apply(double) {
  fail("sam", {"it needs the gradient at other weights, but was given no closure",
               "call step(closure), which evaluates the loss and its gradients"});
}

Evaluation SAM::search(Closure const& closure) {
  Evaluation const first = closure();
  std::vector<Tensor> before;
  Tensor squares;  // of the norm, in f64
  for_each([&](Tensor const& p, Tensor const& g, size_t, auto const&) {
    before.push_back(p.clone());
    if (!g.defined()) return;
    Tensor const own = sum(heed::square(norm(config_.adaptive ? p * g : g.detach()).to(Dtype::f64)));
    squares = squares.defined() ? squares + own : own;
  });
  double const length = squares.defined() ? std::sqrt(squares.item()) : 0;
  for_each([&](Tensor p, Tensor const& g, size_t, auto const&) {
    if (!g.defined() || length == 0) return;
    Tensor const e = g.detach() * (config_.radius / length);
    p.copy_(p + (config_.adaptive ? heed::square(p) * e : e));
  });
  std::vector<Tensor> here;
  if (config_.gap > 0) for_each([&](Tensor const&, Tensor const& g, size_t, auto const&) { here.push_back(g); });
  Evaluation const second = closure();
  for_each([&](Tensor p, Tensor const&, size_t i, auto const&) { p.copy_(before[i]); });
  if (config_.gap > 0) close_gap(here);
  Wrapper::apply(second.gradient_scale);
  return first;
}

/// The gradients at the far point, less what those `here` have at a right angle to them.
void SAM::close_gap(std::vector<Tensor> const& here) {
  double along = 0, size = 0;
  auto const product = [](Tensor const& a, Tensor const& b) { return sum(a.detach() * b.detach()).item(); };
  for_each([&](Tensor const&, Tensor const& g, size_t i, auto const&) {
    if (!g.defined() || !here[i].defined()) return;
    along += product(g, here[i]);
    size += product(g, g);
  });
  size_t index = 0;
  for (ParameterGroup const& group : groups())
    for (auto const& [name, parameter] : group.parameters) {
      Tensor const g = parameter.grad(), own = here[index++];
      if (!g.defined() || !own.defined() || size == 0) continue;
      parameter.set_grad(g.detach() - (own.detach() - g.detach() * (along / size)) * config_.gap);
    }
}

Cautious::Cautious(std::unique_ptr<Optimizer> inner, CautiousConfig const& config)
    : ChangeWrapper(std::move(inner)), config_(config) {
  check_settings("cautious", config_);
}

void Cautious::follow(Tensor p, Tensor const& old, Tensor const& g, double decay) {
  Tensor const change = p.to(old.dtype()) - old;
  Tensor const agrees = (change * g.to(old.dtype()) < 0.).to(old.dtype());
  p.copy_(old * (1 - decay) + change * agrees / clamp_min(mean(agrees), config_.floor));
}

void CautiousDecay::follow(Tensor p, Tensor const& old, Tensor const&, double decay) {
  if (decay == 0) return;
  Tensor const now = p.to(old.dtype());
  p.copy_(where((now - old) * old <= 0., now - old * decay, now));
}

}  // namespace heed::optim
