#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/regularize/concrete_dropout.h>

#include <cmath>

namespace heed::nn {

void ConcreteDropout::Config::visit(ConfigVisitor& v) {
  v.field("p", p, "first share that is dropped, between 0 and 1");
  v.field("weight", weight, "of the shares' entropy, for each feature: 2/samples in the paper");
  v.field("decay", decay, "of the squared weights: length scale^2/samples");
  v.field("temperature", temperature, "how far what is dropped is from all or nothing");
  v.field("learning_rate", learning_rate, "of the shares' own Adam");
  v.field("pattern", pattern, "names of the matrices, ** for any");
}

ConcreteDropout::ConcreteDropout(Config const& config)
    : Reparametrization(config.pattern, checked_amount("concrete-dropout", "learning_rate", config.learning_rate)),
      config_(config) {
  checked_amount("concrete-dropout", "weight", config.weight);
  checked_amount("concrete-dropout", "decay", config.decay);
  check(config.p > 0 && config.p < 1 && config.temperature > 0, "concrete-dropout", [&] {
    return Complaint{fmt::format("expected p between 0 and 1 and a temperature above 0, got {} and {}", config.p,
                                 config.temperature),
                     "0.1 is usual for both"};
  });
}

Tensor ConcreteDropout::first_gain(Tensor const& w) const {
  return full({1}, std::log(config_.p / (1 - config_.p)), w.dtype(), w.device());
}

Tensor ConcreteDropout::scaled(Entry const& entry, Tensor const& w) const {
  if (!training()) return {};
  Shape shape = Shape::filled(w.rank(), 1);
  shape[1] = w.size(1);
  Tensor const& logit = entry.gain;
  Tensor const u = uniform(shape, 1e-6, 1 - 1e-6, w.dtype(), default_generator(), w.device());
  Tensor const kept = sigmoid((log(1. - u) - log(u) - logit) / config_.temperature);
  return w * (kept / sigmoid(-logit));
}

Tensor ConcreteDropout::penalty(Module& model) {
  if (config_.weight == 0 && config_.decay == 0) return {};
  Tensor total;
  for (Entry const& entry : entries()) {
    if (entry.name.find("embedding") != entry.name.npos) continue;  // looked up, not multiplied
    for (NamedTensor const& w : named_parameters(model)) {
      if (w.name != entry.name) continue;
      Tensor const p = sigmoid(entry.gain), rest = sigmoid(-entry.gain);
      Tensor const entropy = p * softplus(-entry.gain) + rest * softplus(entry.gain);
      Tensor const one =
          sum(sum(square(w.tensor)) / rest * config_.decay - entropy * (config_.weight * double(w.tensor.size(1))));
      total = total.defined() ? total + one : one;
    }
  }
  return total;
}

}  // namespace heed::nn
