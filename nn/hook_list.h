// Hooks of one kind that a thread has set, in order.
#pragma once

#include <heed/engine/hooks.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace heed::nn {

template <class Hook>
class HookList {
 public:
  /// The calling thread's.
  static std::shared_ptr<HookList> const& mine() {
    thread_local auto const list = std::make_shared<HookList>();
    return list;
  }
  /// `changed` is called after the hook was set, and after it was removed.
  static HookHandle add(
      Hook hook, void (*changed)() = [] {}) {
    auto const list = mine();
    uint64_t const id = ++list->last_;
    list->hooks_.emplace_back(id, std::move(hook));
    changed();
    return HookHandle([list, id, changed] {
      std::erase_if(list->hooks_, [id](auto const& h) { return h.first == id; });
      if (list == mine()) changed();
    });
  }
  bool empty() const { return hooks_.empty(); }
  /// Those that are there now: a hook may set or remove hooks while they run.
  std::vector<std::pair<uint64_t, Hook>> now() const { return hooks_; }
  template <class F>
  bool any(F const& f) const {
    for (auto const& [id, hook] : hooks_)
      if (f(hook)) return true;
    return false;
  }

 private:
  std::vector<std::pair<uint64_t, Hook>> hooks_;
  uint64_t last_ = 0;
};

}  // namespace heed::nn
