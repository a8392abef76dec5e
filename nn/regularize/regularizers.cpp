#include <fmt/format.h>
#include <heed/engine/ops.h>
#include <heed/engine/recompute.h>
#include <heed/nn/regularize/regularizers.h>

namespace heed::nn {

void PenaltyTerms::add(Tensor const& term) {
  hand_out(term, [this](Tensor const& handed) { terms_.push_back(handed); });
}

Tensor PenaltyTerms::take(double weight) {
  if (terms_.empty()) return {};
  Tensor total = terms_[0];
  for (size_t i = 1; i < terms_.size(); ++i) total = total + terms_[i];
  total = total * (weight / double(terms_.size()));
  terms_.clear();
  return total;
}

Tensor Regularizers::penalty(Module& model) {
  Tensor sum;
  for (auto const& part : parts_)
    if (Tensor const one = part->penalty(model); one.defined()) sum = sum.defined() ? sum + one : one;
  return sum;
}

std::vector<NamedTensor> Regularizers::state() {
  std::vector<NamedTensor> all;
  for (size_t i = 0; i < parts_.size(); ++i)
    for (auto const& [name, tensor] : parts_[i]->state()) all.push_back({fmt::format("{}.{}", i, name), tensor});
  return all;
}

}  // namespace heed::nn
