#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>
#include <heed/nn/module.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace heed::nn {
namespace {

/// Keeps the dotted path of where the walk is.
class PathVisitor : public Visitor {
 public:
  void enter(std::string_view name, Module&) override {
    lengths_.push_back(path_.size());
    if (!path_.empty()) path_ += '.';
    path_ += name;
  }
  void leave() override {
    path_.resize(lengths_.back());
    lengths_.pop_back();
  }
  void parameter(std::string_view, Tensor&) override {}

 protected:
  std::string name_of(std::string_view leaf) const {
    return path_.empty() ? std::string(leaf) : fmt::format("{}.{}", path_, leaf);
  }
  std::string path_;

 private:
  std::vector<size_t> lengths_;
};

template <class OnTensor>
class TensorVisitor final : public PathVisitor {
 public:
  explicit TensorVisitor(OnTensor on_tensor) : on_tensor_(std::move(on_tensor)) {}
  void parameter(std::string_view name, Tensor& tensor) override {
    if (tensor.defined()) on_tensor_(name_of(name), tensor, true);
  }
  void buffer(std::string_view name, Tensor& tensor) override {
    if (tensor.defined()) on_tensor_(name_of(name), tensor, false);
  }

 private:
  OnTensor on_tensor_;
};

/// on_tensor(name, tensor, is_parameter) for every tensor, in order.
template <class OnTensor>
void for_each_tensor(Module& root, OnTensor on_tensor) {
  TensorVisitor visitor(std::move(on_tensor));
  root.visit(visitor);
}

template <class OnModule>
class ModuleVisitor final : public PathVisitor {
 public:
  explicit ModuleVisitor(OnModule on_module) : on_module_(std::move(on_module)) {}
  void enter(std::string_view name, Module& module) override {
    PathVisitor::enter(name, module);
    on_module_(path_, module);
  }

 private:
  OnModule on_module_;
};

template <class OnModule>
void for_each_module(Module& root, OnModule on_module) {
  on_module(std::string(), root);
  ModuleVisitor visitor(std::move(on_module));
  root.visit(visitor);
}

}  // namespace

void Visitor::child(std::string_view name, Module& module) {
  enter(name, module);
  module.visit(*this);
  leave();
}

void bind_paths(Module& root, std::string_view path) {
  for_each_module(root, [&](std::string const& below, Module& module) {
    module.path_ =
        intern(path.empty() || below.empty() ? fmt::format("{}{}", path, below) : fmt::format("{}.{}", path, below));
  });
  for (auto& [name, tensor] : named_parameters(root))
    tensor.set_label(path.empty() ? name : fmt::format("{}.{}", path, name));
}

void train(Module& root, bool on) {
  for_each_module(root, [&](std::string const&, Module& module) { module.training_ = on; });
}

std::vector<NamedTensor> state_dict(Module& root) {
  std::vector<NamedTensor> state;
  for_each_tensor(root, [&](std::string const& name, Tensor& tensor, bool) { state.push_back({name, tensor}); });
  return state;
}

std::vector<NamedTensor> named_parameters(Module& root) {
  std::vector<NamedTensor> list;
  std::unordered_set<TensorBody*> seen;
  for_each_tensor(root, [&](std::string const& name, Tensor& tensor, bool is_parameter) {
    if (is_parameter && seen.insert(tensor.body()).second) list.push_back({name, tensor});
  });
  return list;
}

std::vector<Tensor> parameters(Module& root) {
  std::vector<Tensor> list;
  for (auto& [name, tensor] : named_parameters(root)) list.push_back(tensor);
  return list;
}

int64_t count_parameters(Module& root) {
  int64_t count = 0;
  for (Tensor const& p : parameters(root)) count += p.numel();
  return count;
}

void load_state_dict(Module& root, std::vector<NamedTensor> const& state) {
  std::unordered_map<std::string_view, Tensor const*> given;
  for (auto const& [name, tensor] : state) given[name] = &tensor;
  std::vector<std::pair<Tensor, Tensor const*>> copies;
  std::string missing, unknown, different;
  auto append = [](std::string& list, std::string const& item) { list += (list.empty() ? "" : ", ") + item; };
  for (auto const& [name, tensor] : state_dict(root)) {
    auto const found = given.find(name);
    if (found == given.end())
      append(missing, name);
    else if (!(found->second->shape() == tensor.shape()))
      append(different, fmt::format("{} (expected {}, got {})", name, to_string(tensor.shape()),
                                    to_string(found->second->shape())));
    else
      copies.emplace_back(tensor, found->second);
    given.erase(name);
  }
  for (auto const& [name, tensor] : state)
    if (given.contains(name)) append(unknown, name);
  check(missing.empty() && unknown.empty() && different.empty(), "load_state_dict", [&] {
    std::string problem = "the state does not fit the model";
    if (!missing.empty()) problem += "; missing: " + missing;
    if (!unknown.empty()) problem += "; unknown: " + unknown;
    if (!different.empty()) problem += "; of another shape: " + different;
    return Complaint{problem, "load it into a model of the same configuration"};
  });
  NoGrad const off;
  for (auto& [target, source] : copies) target.copy_(*source);
}

void zero_grad(Module& root) {
  for (Tensor const& p : parameters(root)) p.set_grad({});
}

namespace {
/// Every parameter and buffer becomes `converted(it)` in place.
template <class F>
void convert(Module& root, F const& converted) {
  NoGrad const off;
  std::unordered_set<TensorBody*> seen;
  for_each_tensor(root, [&](std::string const&, Tensor& tensor, bool) {
    if (!seen.insert(tensor.body()).second) return;
    Tensor const other = converted(tensor.detach()).contiguous();
    TensorBody& body = *tensor.body();
    body.storage = other.body()->storage;
    body.offset = other.body()->offset;
    body.strides = other.strides();
    body.dtype = other.dtype();
    body.grad = {};
  });
}
}  // namespace

void to(Module& root, Dtype dtype) {
  convert(root, [dtype](Tensor const& t) { return is_floating(t.dtype()) ? t.to(dtype) : t; });
}
void to(Module& root, Device device) {
  convert(root, [device](Tensor const& t) { return t.to(device); });
}

void tie(Tensor& alias, Tensor const& original) {
  check(alias.defined() && original.defined() && alias.shape() == original.shape(), "tie", [&] {
    return Complaint{fmt::format("expected two parameters of one shape, got {} and {}",
                                 alias.defined() ? to_string(alias.shape()) : "none",
                                 original.defined() ? to_string(original.shape()) : "none"),
                     "tie parameters of equal shape"};
  });
  alias = original;
}

}  // namespace heed::nn
