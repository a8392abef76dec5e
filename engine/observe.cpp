#include <heed/engine/error.h>
#include <heed/engine/observe.h>

#include <mutex>

namespace heed {
namespace {
std::mutex watching;  // held during every call of the observer
Observer* current = nullptr;
uint32_t last_epoch = 0;
}  // namespace

constinit std::atomic<uint32_t> detail::observer_epoch{0};

void set_observer(Observer* observer) {
  std::lock_guard const guard(watching);
  check(!observer || !current, "set_observer", [] {
    return Complaint{"operations are being watched already", "end the other profile first"};
  });
  current = observer;
  if (observer && ++last_epoch == 0) ++last_epoch;
  detail::observer_epoch.store(observer ? last_epoch : 0, std::memory_order_relaxed);
}

void Observed::begin(Operation const& operation) {
  std::lock_guard const guard(watching);
  if (epoch_ == epoch())
    token_ = current->enter(operation);
  else
    epoch_ = 0;
}

void Observed::end() noexcept {
  std::lock_guard const guard(watching);
  if (epoch_ == epoch()) current->leave(token_);
}

}  // namespace heed
