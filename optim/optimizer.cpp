#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/optimise.h>
#include <heed/engine/tape.h>
#include <heed/optim/optimizer.h>

#include <cmath>

namespace heed::optim {

std::vector<ParameterGroup> decay_matrices_only(nn::Module& model, double weight_decay) {
  std::vector<ParameterGroup> groups(2);
  groups[0].weight_decay = weight_decay;
  for (auto& parameter : nn::named_parameters(model))
    groups[parameter.tensor.rank() >= 2 ? 0 : 1].parameters.push_back(parameter);
  return groups;
}

std::vector<ParameterGroup> mup_groups(nn::Module& model, int64_t base, double weight_decay) {
  std::vector<ParameterGroup> groups(3);
  groups[0].weight_decay = groups[1].weight_decay = weight_decay;
  double dim = 0;
  for (auto const& parameter : nn::named_parameters(model)) {
    if (parameter.name.ends_with("token_embedding.weight")) dim = double(parameter.tensor.size(1));
    bool const matrix = parameter.tensor.rank() >= 2, input = parameter.name.find("embedding") != std::string::npos;
    groups[!matrix ? 2 : input ? 1 : 0].parameters.push_back(parameter);
  }
  check(dim > 0 && base >= 1, "mup_groups", [] {
    return Complaint{"the model has no token_embedding, whose width is its own", "make groups with rate_scale"};
  });
  groups[0].rate_scale = double(base) / dim;
  return groups;
}

std::vector<ParameterGroup> all_parameters(nn::Module& model, double weight_decay) {
  return {{.parameters = nn::named_parameters(model), .weight_decay = weight_decay}};
}

Optimizer::Optimizer(std::vector<ParameterGroup>&& groups, double learning_rate)
    : groups_(std::move(groups)), learning_rate_(learning_rate) {
  check(learning_rate >= 0, "Optimizer", [&] {
    return Complaint{fmt::format("expected a learning rate of 0 or more, got {}", learning_rate),
                     "choose a small positive rate"};
  });
  size_t count = 0;
  for (ParameterGroup const& group : groups_)
    for (auto const& parameter : group.parameters) {
      check(parameter.tensor.is_leaf() && parameter.tensor.is_contiguous() && is_floating(parameter.tensor.dtype()),
            "Optimizer", [&] {
              return Complaint{fmt::format("'{}' is not a contiguous floating leaf", parameter.name),
                               "pass a model's parameters"};
            });
      ++count;
    }
  check(count > 0, "Optimizer", [] {
    return Complaint{"expected at least one parameter, got none", "pass parameters(model)"};
  });
}

void Optimizer::add_slot(std::string_view kind) {
  add_slot(kind, [](Tensor const& parameter) {
    return zeros(parameter.shape(), is_half(parameter.dtype()) ? Dtype::f32 : parameter.dtype(), parameter.device());
  });
}

void Optimizer::add_slot(std::string_view kind, std::function<Tensor(Tensor const&)> const& make) {
  Slot& slot = slots_.emplace_back(Slot{std::string(kind), {}});
  for (ParameterGroup const& group : groups_)
    for (auto const& parameter : group.parameters) slot.tensors.push_back(make(parameter.tensor));
}

Tensor Optimizer::add_tensor(std::string_view kind, Tensor const& tensor) {
  tensors_.push_back({std::string(kind), tensor});
  return tensor;
}

void Optimizer::step(double gradient_scale) {
  NoGrad const off;
  Observed const watch("optimizer step");
  evaluating(false);
  ++steps_;
  apply(gradient_scale);
}

Evaluation Optimizer::step(Closure const& closure) {
  NoGrad const off;
  Observed const watch("optimizer step");
  evaluating(false);
  ++steps_;
  return search([&] {
    EnableGrad const on;
    return closure();
  });
}

Evaluation Optimizer::search(Closure const& closure) {
  Evaluation const first = closure();
  apply(first.gradient_scale);
  return first;
}

void Optimizer::apply(double gradient_scale) {
  size_t index = 0;
  for (ParameterGroup const& group : groups_) {
    std::vector<Item> items;
    std::vector<Tensor> narrow;  // the 16-bit parameters
    for (auto const& [name, parameter] : group.parameters) {
      if (Tensor const gradient = parameter.grad(); gradient.defined()) {
        bool const half = is_half(parameter.dtype());
        Tensor const own = parameter.detach();
        items.push_back({half ? own.to(Dtype::f32) : own,
                         gradient.detach().to(half ? Dtype::f32 : own.dtype()).contiguous(), index});
        narrow.push_back(half ? own : Tensor());
      }
      ++index;
    }
    if (items.empty()) continue;
    update(group, items, learning_rate_ * group.rate_scale, gradient_scale);
    for (size_t i = 0; i < items.size(); ++i) {
      if (narrow[i].defined()) narrow[i].copy_(items[i].parameter);
      items[i].parameter.storage().bump_version();
    }
  }
}

void Optimizer::zero_grad() {
  for (ParameterGroup const& group : groups_)
    for (auto const& parameter : group.parameters) parameter.tensor.set_grad({});
}

std::vector<nn::NamedTensor> Optimizer::held() const {
  std::vector<nn::NamedTensor> state;
  for (Slot const& slot : slots_) {
    size_t index = 0;
    for (ParameterGroup const& group : groups_)
      for (auto const& parameter : group.parameters)
        if (Tensor const& tensor = slot.tensors[index++]; tensor.defined())
          state.push_back({fmt::format("{}.{}", slot.kind, parameter.name), tensor});
  }
  state.insert(state.end(), tensors_.begin(), tensors_.end());
  return state;
}

void Optimizer::load_state(std::vector<nn::NamedTensor> const& state, int64_t steps) {
  std::vector<std::pair<Tensor, Tensor>> copies;
  for (auto const& own : held()) {
    Tensor const* found = nullptr;
    for (auto const& [name, tensor] : state)
      if (name == own.name) found = &tensor;
    check(found && found->shape() == own.tensor.shape(), "load_state", [&] {
      return Complaint{fmt::format("expected '{}' of shape {}, got {}", own.name, to_string(own.tensor.shape()),
                                   found ? to_string(found->shape()) : "none"),
                       "load a state that this optimiser saved, for the same model"};
    });
    copies.emplace_back(own.tensor, *found);
  }
  check(!holds_all() || state.size() == copies.size(), "load_state", [&] {
    return Complaint{fmt::format("expected {} tensors, got {}", copies.size(), state.size()),
                     "load a state that this optimiser saved, for the same model"};
  });
  NoGrad const off;
  for (auto& [to, from] : copies) to.copy_(from);
  steps_ = steps;
  loaded();
}

double gradient_norm(std::vector<ParameterGroup> const& groups) {
  Observed const watch("gradient_norm");
  double sum = 0;
  for (ParameterGroup const& group : groups)
    for (auto const& parameter : group.parameters) {
      Tensor const gradient = parameter.tensor.grad();
      if (!gradient.defined()) continue;
      Tensor const whole = gradient.detach().contiguous();
      dispatch_floating("gradient_norm", whole.dtype(), [&]<class T>(Type<T>) {
        sum += kernels<OptimiseKernels>(whole.device(), "gradient_norm")
                   .of<T>()
                   .sum_squares(whole.address<T>(), whole.numel());
      });
    }
  return std::sqrt(sum);
}

}  // namespace heed::optim
