#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/hooks.h>
#include <heed/engine/tape.h>

#include <vector>

namespace heed {
namespace {

struct Hooks final : HookList {
  struct Entry {
    uint64_t id;
    int slot;
    std::function<Tensor(Tensor const&)> f;
  };
  std::vector<Entry> list;
  uint64_t last = 0;
  void dispose() noexcept override { delete this; }
};

}  // namespace

Ref<HookList>& hooks_of(Tensor const& x) { return x.body()->node ? x.body()->node->hooks_ : x.body()->hooks; }

namespace {

HookHandle add_hook(Tensor const& x, int slot, std::function<Tensor(Tensor const&)> f) {
  Ref<HookList>& kept = hooks_of(x);
  if (!kept) kept = Ref<HookList>(new Hooks);
  Ref<Hooks> const hooks(static_cast<Hooks*>(kept.get()));
  uint64_t const id = ++hooks->last;
  hooks->list.push_back({id, slot, std::move(f)});
  return HookHandle([hooks, id] { std::erase_if(hooks->list, [id](Hooks::Entry const& e) { return e.id == id; }); });
}

}  // namespace

HookHandle hook(Tensor const& x, std::function<Tensor(Tensor const&)> f) {
  check_defined("hook", x);
  check(x.requires_grad(), "hook", [&] {
    return Complaint{fmt::format("a tensor of shape {} requires no gradient, so that no walk would call the hook",
                                 to_string(x.shape())),
                     "mark it with requires_grad_(), or set the hook while recording"};
  });
  return add_hook(x, x.body()->node ? x.body()->slot : 0, std::move(f));
}

HookHandle on_accumulated(Tensor const& leaf, std::function<void()> f) {
  check_defined("on_accumulated", leaf);
  check(leaf.is_leaf() && leaf.requires_grad(), "on_accumulated", [&] {
    return Complaint{fmt::format("a tensor of shape {} is no leaf that requires a gradient", to_string(leaf.shape())),
                     "pass a parameter, or use hook() for what an operation gave"};
  });
  return add_hook(leaf, detail::accumulated_slot, [f = std::move(f)](Tensor const&) {
    f();
    return Tensor();
  });
}

Tensor detail::run_hooks(HookList const& hooks, int slot, Tensor gradient) {
  auto const list = static_cast<Hooks const&>(hooks).list;  // a hook may remove itself
  for (auto const& entry : list) {
    if (entry.slot != slot) continue;
    Tensor replaced = entry.f(gradient);
    if (!replaced.defined()) continue;
    check(replaced.shape() == gradient.shape() && replaced.dtype() == gradient.dtype(), "hook", [&] {
      return Complaint{
          fmt::format("expected a gradient of shape {} {}, the hook returned {} {}", to_string(gradient.shape()),
                      name(gradient.dtype()), to_string(replaced.shape()), name(replaced.dtype())),
          "return a gradient like the one that came, or an undefined tensor to leave it"};
    });
    gradient = std::move(replaced);
  }
  return gradient;
}

}  // namespace heed
