#include <heed/engine/ops.h>
#include <heed/optim/wrapper.h>

namespace heed::optim {

Wrapper::Wrapper(std::unique_ptr<Optimizer> inner)
    : Optimizer(std::vector<ParameterGroup>(inner->groups()), inner->learning_rate()), inner_(std::move(inner)) {}

Wrapper::Wrapper(std::vector<ParameterGroup>&& groups, std::unique_ptr<Optimizer> inner)
    : Optimizer(std::move(groups), inner->learning_rate()), inner_(std::move(inner)) {}

namespace {
std::vector<nn::NamedTensor> joined(std::vector<nn::NamedTensor> own, std::vector<nn::NamedTensor> const& inner) {
  own.insert(own.end(), inner.begin(), inner.end());
  return own;
}
}  // namespace

std::vector<nn::NamedTensor> Wrapper::state() const { return joined(Optimizer::held(), inner_->state()); }
std::vector<nn::NamedTensor> Wrapper::held() const { return joined(Optimizer::held(), inner_->held()); }

void Wrapper::apply(double gradient_scale) {
  inner_->steps_ = steps();
  inner_->learning_rate_ = learning_rate();
  inner_->apply(gradient_scale);
}

Evaluation Wrapper::search(Closure const& closure) {
  inner_->steps_ = steps();
  inner_->learning_rate_ = learning_rate();
  return inner_->search(closure);
}

void Wrapper::loaded() {
  inner_->steps_ = steps();
  inner_->loaded();
}

void Wrapper::take_decay() {
  for (ParameterGroup& group : inner_->groups_) group.weight_decay = 0;
}

std::vector<Tensor> ChangeWrapper::begin() const {
  std::vector<Tensor> before;
  for_each([&](Tensor const& p, Tensor const&, size_t, auto const&) { before.push_back(wide_copy(p)); });
  return before;
}

void ChangeWrapper::apply(double gradient_scale) {
  auto const before = begin();
  Wrapper::apply(gradient_scale);
  end(before);
}

Evaluation ChangeWrapper::search(Closure const& closure) {
  auto const before = begin();
  Evaluation const first = Wrapper::search(closure);
  end(before);
  return first;
}

void ChangeWrapper::end(std::vector<Tensor> const& before) {
  for_each([&](Tensor const& p, Tensor const& g, size_t i, ParameterGroup const& group) {
    if (g.defined()) follow(p, before[i], g.detach(), learning_rate() * group.rate_scale * group.weight_decay);
  });
}

Tensor Wrapper::wide_copy(Tensor const& tensor) {
  return is_half(tensor.dtype()) ? tensor.to(Dtype::f32) : tensor.clone();
}

}  // namespace heed::optim
