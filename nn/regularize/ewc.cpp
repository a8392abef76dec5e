#include <fmt/format.h>
#include <heed/engine/backward.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/ewc.h>

namespace heed::nn {

void Ewc::begin(Module& model) {
  NoGrad const off;
  for (NamedTensor const& w : matrices(model, pattern()))
    old_.insert_or_assign(w.name, Old{w.tensor.detach().clone(), zeros_like(w.tensor.detach())});
}

void Ewc::consolidate(Module& model, std::function<Tensor()> const& loss, int64_t batches) {
  begin(model);
  std::vector<NamedTensor> const list = matrices(model, pattern());
  std::vector<Tensor> weights;
  for (NamedTensor const& w : list) weights.push_back(w.tensor);
  for (int64_t n = 0; n < batches; ++n) {
    auto const gradients = grad({loss()}, weights, {}, {.allow_unused = true});
    NoGrad const off;
    for (size_t i = 0; i < list.size(); ++i) {
      if (!gradients[i].defined()) continue;
      Tensor& sum = old_.at(list[i].name).importance;
      sum = sum + square(gradients[i]) / double(batches);
    }
  }
}

std::vector<NamedTensor> Ewc::state() {
  std::vector<NamedTensor> list;
  for (auto const& [name, old] : old_) {
    list.push_back({fmt::format("{}.weights", name), old.weights});
    list.push_back({fmt::format("{}.importance", name), old.importance});
  }
  return list;
}

Tensor Ewc::measure(std::string const& name, Tensor const& w) {
  auto const at = old_.find(name);
  return at == old_.end() ? Tensor() : sum(at->second.importance * square(w - at->second.weights)) * 0.5;
}

}  // namespace heed::nn
