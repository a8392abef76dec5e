#include <fmt/format.h>
#include <heed/engine/ops.h>
#include <heed/nn/regularize/regularizers.h>

namespace heed::nn {

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
