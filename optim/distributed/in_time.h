// Calls that may wait for ever.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace heed::distributed {

/// f() on a thread of its own, which is left to itself after `seconds`; whether it ended in time. What f reads and
/// writes it must own.
template <class F>
bool in_time(double seconds, F f) {
  struct Shared {
    std::mutex lock;
    std::condition_variable changed;
    bool done = false;
  };
  auto const shared = std::make_shared<Shared>();
  std::thread([shared, f] {
    f();
    std::lock_guard const guard(shared->lock);
    shared->done = true;
    shared->changed.notify_all();
  }).detach();
  std::unique_lock guard(shared->lock);
  return shared->changed.wait_for(guard, std::chrono::duration<double>(seconds), [&] { return shared->done; });
}

}  // namespace heed::distributed
