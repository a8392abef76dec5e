#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/averaged_weights.h>

namespace heed::nn {

void AveragedWeights::begin(Module& model) {
  NoGrad const off;
  entries_.clear();
  progress_ = zeros({2}, Dtype::f64);
  for (NamedTensor const& p : named_parameters(model)) {
    Tensor const wide = is_half(p.tensor.dtype()) ? p.tensor.detach().to(Dtype::f32) : p.tensor.detach().clone();
    entries_.push_back({p.name, wide, p.tensor.detach().clone()});
  }
}

void AveragedWeights::stepped(Module& model, int64_t step) {
  check(progress_.defined(), "averaged weights", [] {
    return Complaint{"a step was taken before begin()", "call begin(model) first"};
  });
  double* const progress = progress_.data<double>();
  double const part = share(step, int64_t(progress[0]));
  if (part == 0) return;
  NoGrad const off;
  size_t i = 0;
  for (NamedTensor const& p : named_parameters(model)) {
    Tensor& average = entries_[i++].average;
    average.copy_(lerp(average, p.tensor.detach().to(average.dtype()), part));
  }
  ++progress[0];
}

void AveragedWeights::evaluating(Module& model, bool on) {
  double* const progress = progress_.data<double>();
  if (progress[0] == 0 || (progress[1] == 1) == on) return;
  NoGrad const off;
  size_t i = 0;
  for (NamedTensor const& p : named_parameters(model)) {
    Entry& entry = entries_[i++];
    Tensor weights = p.tensor.detach();
    if (on) entry.kept.copy_(weights);
    weights.copy_(on ? entry.average : entry.kept);
  }
  progress[1] = on;
}

std::vector<NamedTensor> AveragedWeights::state() {
  std::vector<NamedTensor> list{{"progress", progress_}};
  for (Entry const& entry : entries_) {
    list.push_back({fmt::format("average.{}", entry.name), entry.average});
    list.push_back({fmt::format("kept.{}", entry.name), entry.kept});
  }
  return list;
}

}  // namespace heed::nn
