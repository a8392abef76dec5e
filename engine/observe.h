// What watches operations while they run (profile.h): a primitive opens an Observed.
#pragma once

#include <heed/engine/tensor.h>

#include <atomic>
#include <initializer_list>
#include <span>

namespace heed {

/// What an Observed says of itself; the lists are valid during Observer::enter() alone.
struct Operation {
  using Tensors = std::span<Tensor const* const>;  // null and undefined ones allowed
  char const* op;                                  // a literal
  Tensors inputs = {}, outputs = {};
  double flops = 0;       // 0 where unknown
  bool gradient = false;  // a step of backward: the gradient function of `op`, and the sums it adds to
};

/// Calls come from any thread, one at a time.
class Observer {
 public:
  /// What it returns comes back in leave().
  virtual size_t enter(Operation const& operation) = 0;
  virtual void leave(size_t token) noexcept = 0;

 protected:
  ~Observer() = default;
};
/// `observer` sees every operation from now on; null ends that: no call is under way or comes afterwards. An Error
/// where another one is watching.
void set_observer(Observer* observer);

namespace detail {
extern std::atomic<uint32_t> observer_epoch;  // 0: nobody watches
}

/// `Observed const watch("softmax", {&x}, {&y});` stands in a primitive where its result exists and its kernel is about
/// to run, and lives until the operation returns. A composition may open one with its name alone, and its primitives
/// are nested in it; a driver with arrays of operands opens one from an Operation. Costs a relaxed load where nobody
/// watches.
class Observed {
 public:
  using List = std::initializer_list<Tensor const*>;
  explicit Observed(char const* op, List inputs = {}, List outputs = {}) : epoch_(epoch()) {
    if (epoch_) [[unlikely]]
      begin({op, span(inputs), span(outputs)});
  }
  /// `flops()` gives the floating-point operations, a multiply-add counted as two.
  template <class Flops>
  Observed(char const* op, List inputs, List outputs, Flops flops) : epoch_(epoch()) {
    if (epoch_) [[unlikely]]
      begin({op, span(inputs), span(outputs), double(flops())});
  }
  explicit Observed(Operation const& operation) : epoch_(epoch()) {
    if (epoch_) [[unlikely]]
      begin(operation);
  }
  ~Observed() {
    if (epoch_) [[unlikely]]
      end();
  }
  Observed(Observed const&) = delete;
  Observed& operator=(Observed const&) = delete;

 private:
  static Operation::Tensors span(List list) { return {list.begin(), list.size()}; }
  static uint32_t epoch() noexcept { return detail::observer_epoch.load(std::memory_order_relaxed); }
  void begin(Operation const& operation);
  void end() noexcept;
  uint32_t epoch_;
  size_t token_ = 0;
};

}  // namespace heed
