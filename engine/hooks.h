// Hooks on gradients.
#pragma once

#include <heed/engine/tensor.h>

#include <functional>

namespace heed {

/// What a hook was set with: remove() takes it away, and dropping the handle leaves it in place.
class HookHandle {
 public:
  HookHandle() = default;
  explicit HookHandle(std::function<void()> off) : off_(std::move(off)) {}
  void remove() {
    if (off_) off_();
    off_ = nullptr;
  }

 private:
  std::function<void()> off_;
};

/// Calls `f` with the gradient of `x` in every walk, once it is complete (all its uses have delivered) and before it
/// goes on to x's operands, to grad()'s result or to x.grad(). What f returns takes its place, with the same shape and
/// type; an undefined tensor leaves it. Hooks run in the order they were set, and are recorded under create_graph. An
/// Error unless x requires a gradient. A hook belongs to the value x has now: an in-place change begins another.
HookHandle hook(Tensor const& x, std::function<Tensor(Tensor const& gradient)> f);

/// Calls `f` each time that a walk of backward() has added all that it gives to the grad() of `leaf`, while the walk
/// goes on: what sends gradients elsewhere begins there. An Error unless leaf is one that requires a gradient.
HookHandle on_accumulated(Tensor const& leaf, std::function<void()> f);

namespace detail {
constexpr int accumulated_slot = -1;
/// `gradient` after the hooks of output `slot` (0 for a leaf).
Tensor run_hooks(HookList const& hooks, int slot, Tensor gradient);
}  // namespace detail

}  // namespace heed
