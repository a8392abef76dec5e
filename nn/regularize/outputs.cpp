#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/regularize/outputs.h>

#include <algorithm>

namespace heed::nn {

OutputRegularizer::OutputRegularizer(std::string at, bool always) : at_(std::move(at)), always_(always) {
  check(!at_.empty(), "regularizer", [] {
    return Complaint{"expected the modules to act on, got an empty pattern", "write for instance at=blocks.*.mlp"};
  });
}

void OutputRegularizer::begin(Module& model) {
  remove();
  model_ = &model;
  for (size_t from = 0; from <= at_.size();) {
    size_t const to = std::min(at_.find('|', from), at_.size());
    hooks_.push_back(on_forward(at_.substr(from, to - from), [this](ModuleCall const& call) {
      return always_ || training() ? changed(call) : Tensor();
    }));
    from = to + 1;
  }
}

void OutputRegularizer::remove() {
  for (HookHandle& hook : hooks_) hook.remove();
  hooks_.clear();
}

double checked_range(std::string_view name, double value, double low, double high) {
  check(value >= low && value < high, name, [&] {
    return Complaint{fmt::format("expected a number from {} to below {}, got {}", low, high, value),
                     "choose one in that range"};
  });
  return value;
}

Tensor const& checked_rank(std::string_view name, Tensor const& x, int least, int most, std::string_view shape) {
  check(x.defined() && x.rank() >= least && x.rank() <= most, name, [&] {
    return Complaint{fmt::format("expected {}, got {}", shape, x.defined() ? to_string(x.shape()) : "none"),
                     "reshape it, or choose a regulariser for this kind of data"};
  });
  return x;
}

}  // namespace heed::nn
