#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/optim/rules/cautious.h>
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
  Evaluation const second = closure();
  for_each([&](Tensor p, Tensor const&, size_t i, auto const&) { p.copy_(before[i]); });
  Wrapper::apply(second.gradient_scale);
  return first;
}

Cautious::Cautious(std::unique_ptr<Optimizer> inner, CautiousConfig const& config)
    : Wrapper(std::move(inner)), config_(config) {
  check_settings("cautious", config_);
  take_decay();
}

std::vector<Tensor> Cautious::begin() const {
  std::vector<Tensor> before;
  for_each([&](Tensor const& p, Tensor const&, size_t, auto const&) { before.push_back(wide_copy(p)); });
  return before;
}

void Cautious::apply(double gradient_scale) {
  auto const before = begin();
  Wrapper::apply(gradient_scale);
  mask(before);
}

Evaluation Cautious::search(Closure const& closure) {
  auto const before = begin();
  Evaluation const first = Wrapper::search(closure);
  mask(before);
  return first;
}

void Cautious::mask(std::vector<Tensor> const& before) {
  for_each([&](Tensor p, Tensor const& g, size_t i, ParameterGroup const& group) {
    if (!g.defined()) return;
    Tensor const& old = before[i];
    Tensor const change = p.to(old.dtype()) - old;
    Tensor const agrees = (change * g.detach().to(old.dtype()) < 0.).to(old.dtype());
    double const kept = 1 - learning_rate() * group.rate_scale * group.weight_decay;
    p.copy_(old * kept + change * agrees / clamp_min(mean(agrees), config_.floor));
  });
}

}  // namespace heed::optim
