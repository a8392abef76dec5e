#include <heed/nn/hook_list.h>
#include <heed/nn/hooks.h>
#include <heed/nn/module.h>

#include <string>

namespace heed::nn {

constinit thread_local bool detail::module_hooks_set = false;
constinit thread_local bool detail::weight_hooks_set = false;

namespace {

struct Entry {
  std::string pattern;
  std::function<Tensor(ModuleCall const&)> forward;
  std::function<Tensor(std::string_view, Tensor const&)> backward, weight = nullptr;
};
using Hooks = HookList<Entry>;

void tell_layers() {
  detail::weight_hooks_set = Hooks::mine()->any([](Entry const& e) { return bool(e.weight); });
  detail::module_hooks_set = Hooks::mine()->any([](Entry const& e) { return !e.weight; });
}

}  // namespace

bool matches(std::string_view pattern, std::string_view path) {
  if (pattern.empty()) return path.empty();
  if (pattern[0] != '*') return !path.empty() && pattern[0] == path[0] && matches(pattern.substr(1), path.substr(1));
  bool const any = pattern.starts_with("**");
  std::string_view const rest = pattern.substr(any ? 2 : 1);
  for (size_t taken = 0;; ++taken) {
    if (matches(rest, path.substr(taken))) return true;
    if (taken == path.size() || (!any && path[taken] == '.')) return false;
  }
}

HookHandle on_forward(std::string_view pattern, std::function<Tensor(ModuleCall const&)> f) {
  return Hooks::add({std::string(pattern), std::move(f), nullptr}, tell_layers);
}

HookHandle on_backward(std::string_view pattern, std::function<Tensor(std::string_view, Tensor const&)> f) {
  return Hooks::add({std::string(pattern), nullptr, std::move(f)}, tell_layers);
}

HookHandle on_weight(std::string_view pattern, std::function<Tensor(std::string_view, Tensor const&)> f) {
  return Hooks::add({std::string(pattern), nullptr, nullptr, std::move(f)}, tell_layers);
}

Tensor detail::run_weight_hooks(std::string_view path, Tensor weight) {
  std::string const name = path.empty() ? "weight" : std::string(path) + ".weight";
  for (auto const& [id, entry] : Hooks::mine()->now())
    if (entry.weight && matches(entry.pattern, name))
      if (Tensor replaced = entry.weight(name, weight); replaced.defined()) weight = std::move(replaced);
  return weight;
}

Tensor detail::run_module_hooks(std::string_view path, std::vector<Tensor> const& inputs, Tensor y) {
  for (auto const& [id, entry] : Hooks::mine()->now()) {
    if (entry.weight || !y.defined() || !matches(entry.pattern, path)) continue;
    if (entry.forward) {
      if (Tensor replaced = entry.forward({path, inputs, y}); replaced.defined()) y = std::move(replaced);
    } else if (y.requires_grad()) {
      y = y.expand(y.shape());  // an entry in the tape of its own: a module may return what it was given
      hook(y, [f = entry.backward, path](Tensor const& gradient) { return f(path, gradient); });
    }
  }
  return y;
}

}  // namespace heed::nn
