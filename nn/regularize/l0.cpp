#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/regularize/l0.h>
#include <heed/nn/transformer.h>

#include <cmath>

namespace heed::nn {
namespace {

constexpr double beta = 2. / 3, low = -0.1, high = 1.1;

void visit_gates(ConfigVisitor& v, double& weight, double& keep, double& learning_rate) {
  v.field("weight", weight, "price of the gates that may be open, as a share of all");
  v.field("keep", keep, "probability at first that a gate is not 0");
  v.field("learning_rate", learning_rate, "of the gates' own Adam");
}

}  // namespace

void L0::Config::visit(ConfigVisitor& v) {
  visit_gates(v, weight, keep, learning_rate);
  v.field("gates", gates, "rows, or weights for one each");
  v.field("pattern", pattern, "names of the matrices, ** for any");
}
void L0Heads::Config::visit(ConfigVisitor& v) {
  visit_gates(v, weight, keep, learning_rate);
  v.field("heads", heads, "of each layer; 0: as the model says");
}

L0::L0(std::string_view name, double weight, double keep, double learning_rate, std::string pattern)
    : Reparametrization(std::move(pattern), checked_amount(name, "learning_rate", learning_rate)),
      weight_(checked_amount(name, "weight", weight)),
      start_(std::log(keep / (1 - keep)) + beta * std::log(-low / high)) {
  check(keep > 0 && keep < 1, name, [&] {
    return Complaint{fmt::format("expected keep between 0 and 1, got {}", keep), "0.9 is usual"};
  });
}

L0::L0(Config const& config) : L0("l0", config.weight, config.keep, config.learning_rate, config.pattern) {
  check(config.gates == "rows" || config.gates == "weights", "l0", [&] {
    return Complaint{fmt::format("expected rows or weights for 'gates', got '{}'", config.gates), "leave it out"};
  });
  rows_ = config.gates == "rows";
}

Shape L0::gates_of(Tensor const& w) const {
  if (!rows_) return w.shape();
  Shape shape = Shape::filled(w.rank(), 1);
  shape[0] = w.size(0);
  return shape;
}

Tensor L0::first_gain(Tensor const& w) const { return full(gates_of(w), start_, w.dtype(), w.device()); }

Tensor L0::scaled(Entry const& entry, Tensor const& w) const {
  Tensor logit = entry.gain;
  if (training()) {
    Tensor const u = uniform(logit.shape(), 1e-6, 1 - 1e-6, logit.dtype(), default_generator(), logit.device());
    logit = (log(u) - log(1. - u) + logit) / beta;
  }
  return gated(clamp(sigmoid(logit) * (high - low) + low, 0, 1), w);
}

Tensor L0::penalty(Module&) {
  if (weight_ == 0) return {};
  Tensor open;
  double gates = 0;
  for (Entry const& entry : entries()) {
    Tensor const one = sum(sigmoid(entry.gain - beta * std::log(-low / high)));
    open = open.defined() ? open + one : one;
    gates += double(entry.gain.numel());
  }
  return open.defined() ? open * (weight_ / gates) : Tensor();
}

L0Heads::L0Heads(Config const& config)
    : L0("l0-heads", config.weight, config.keep, config.learning_rate, "**.out_proj.weight"), heads_(config.heads) {
  checked_amount("l0-heads", "number of heads", double(config.heads));
}

void L0Heads::begin(Module& model) {
  auto const* const gpt = dynamic_cast<GPT const*>(&model);
  check(heads_ > 0 || gpt, "l0-heads", [] {
    return Complaint{"the model does not say how many heads its layers have", "set heads"};
  });
  if (heads_ == 0) heads_ = gpt->config.heads;
  L0::begin(model);
}

Tensor L0Heads::gated(Tensor const& z, Tensor const& w) const {
  check(w.size(1) % heads_ == 0, "l0-heads", [&] {
    return Complaint{fmt::format("{} columns are not those of {} heads", w.size(1), heads_), "set heads"};
  });
  return (w.reshape({w.size(0), heads_, -1}) * z).reshape(w.shape());
}

}  // namespace heed::nn
