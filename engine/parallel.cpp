#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/parallel.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

namespace heed {
namespace {

constexpr int spin_limit = 4000;  // pauses before a thread parks: some 50–100 µs, longer than the gap between two ops
constexpr int max_threads = 256;
constexpr uint32_t no_chunk = 0xFFFFFFFF;  // beyond every chunk number

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Waits until `word` differs from `old`: spins, then sleeps.
template <class T>
void wait_for_change(std::atomic<T>& word, T old, std::atomic<int>* sleepers) {
  for (int i = 0; i < spin_limit; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    pause();
  }
  if (sleepers) sleepers->fetch_add(1);
  word.wait(old);
  if (sleepers) sleepers->fetch_sub(1);
}

thread_local bool inside_region = false;

/// One region at a time. `ticket` packs (region number << 32 | next chunk); a thread that moves it from (r, c) to (r,
/// c+1) owns chunk c of region r, and the region's fields cannot change before that chunk is counted off in
/// `remaining`. A caller therefore never waits for a worker that has claimed nothing.
class Pool {
 public:
  explicit Pool(int threads) { resize(threads); }

  void resize(int threads) {
    std::lock_guard lock(busy_);
    active_workers_.store(threads - 1);
    for (; spawned_ < threads - 1; ++spawned_) std::thread([this, index = spawned_] { work(index); }).detach();
  }

  /// False where another caller's region occupies the pool.
  bool run(int64_t n, int64_t grain, int64_t chunks, void (*body)(void*, int64_t, int64_t), void* data) {
    std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock) return false;
    uint32_t const region = generation_.load(std::memory_order_relaxed) + 1;
    // The old ticket goes first: a worker that still holds it must not claim a chunk of the fields that now change.
    // Whoever reads a new field (acquire) sees this store, and so its exchange with the old ticket fails.
    ticket_.store(uint64_t(region) << 32 | no_chunk, std::memory_order_relaxed);
    n_.store(n, std::memory_order_release);
    grain_.store(grain, std::memory_order_release);
    chunks_.store(uint32_t(chunks), std::memory_order_release);
    body_.store(body, std::memory_order_release);
    data_.store(data, std::memory_order_release);
    remaining_.store(int32_t(chunks), std::memory_order_release);
    ticket_.store(uint64_t(region) << 32, std::memory_order_release);
    generation_.store(region);
    if (sleepers_.load() > 0) generation_.notify_all();

    inside_region = true;
    take_chunks(region);
    inside_region = false;
    for (int32_t left; (left = remaining_.load(std::memory_order_acquire)) != 0;)
      wait_for_change(remaining_, left, nullptr);
    if (failed_.load(std::memory_order_relaxed)) {
      failed_.store(false, std::memory_order_relaxed);
      std::rethrow_exception(std::exchange(failure_, nullptr));
    }
    return true;
  }

 private:
  void work(int index) {
    inside_region = true;
    for (uint32_t seen = 0;;) {
      wait_for_change(generation_, seen, &sleepers_);
      seen = generation_.load(std::memory_order_acquire);
      if (index < active_workers_.load(std::memory_order_relaxed)) take_chunks(seen);
    }
  }

  void take_chunks(uint32_t region) {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    for (;;) {
      auto const chunk = uint32_t(ticket);
      int64_t const n = n_.load(std::memory_order_acquire), grain = grain_.load(std::memory_order_acquire);
      auto const body = body_.load(std::memory_order_acquire);
      auto const data = data_.load(std::memory_order_acquire);
      if (uint32_t(ticket >> 32) != region || chunk >= chunks_.load(std::memory_order_acquire)) return;
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      int64_t const begin = int64_t(chunk) * grain;
      try {
        if (!failed_.load(std::memory_order_relaxed)) body(data, begin, begin + grain < n ? begin + grain : n);
      } catch (...) {
        std::lock_guard lock(failure_lock_);
        if (!failure_) failure_ = std::current_exception();
        failed_.store(true, std::memory_order_relaxed);
      }
      if (remaining_.fetch_sub(1, std::memory_order_acq_rel) == 1) remaining_.notify_all();
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  std::mutex busy_;
  int spawned_ = 0;
  std::atomic<int> active_workers_{0};
  alignas(64) std::atomic<uint64_t> ticket_{0};
  std::atomic<int64_t> n_{0}, grain_{0};
  std::atomic<uint32_t> chunks_{0};
  std::atomic<void (*)(void*, int64_t, int64_t)> body_{nullptr};
  std::atomic<void*> data_{nullptr};
  alignas(64) std::atomic<int32_t> remaining_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> failed_{false};
  std::mutex failure_lock_;
  std::exception_ptr failure_;
};

int default_thread_count() {
  if (char const* const text = std::getenv("HEED_THREADS"); text && *text) {
    char* end = nullptr;
    long const count = std::strtol(text, &end, 10);
    check(*end == 0 && count >= 1 && count <= max_threads, "HEED_THREADS", [&] {
      return Complaint{fmt::format("expected a number of threads from 1 to {}, got '{}'", max_threads, text),
                       "unset HEED_THREADS to use every processor"};
    });
    return int(count);
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::min(CPU_COUNT(&set), max_threads);
  return 1;
}

std::mutex pool_lock;
std::atomic<Pool*> pool{nullptr};  // never destroyed: workers may outlive static destruction
std::atomic<int> wanted_threads{0};

Pool& the_pool() {
  if (Pool* const ready = pool.load(std::memory_order_acquire)) return *ready;
  std::lock_guard lock(pool_lock);
  if (!pool.load()) {
    static bool const registered = [] {
      // After fork the child has no workers: it builds a pool of its own. The old one is left, since its locks may be
      // held.
      pthread_atfork([] { pool_lock.lock(); }, [] { pool_lock.unlock(); },
                     [] {
                       pool.store(nullptr);
                       inside_region = false;
                       pool_lock.unlock();
                     });
      return true;
    }();
    (void)registered;
    pool.store(new Pool(thread_count()), std::memory_order_release);
  }
  return *pool.load();
}

}  // namespace

int thread_count() {
  int const wanted = wanted_threads.load(std::memory_order_relaxed);
  if (wanted > 0) return wanted;
  int const count = default_thread_count();
  wanted_threads.store(count);
  return count;
}

void set_thread_count(int count) {
  check(count >= 1 && count <= max_threads, "set_thread_count", [&] {
    return Complaint{fmt::format("expected 1 to {} threads, got {}", max_threads, count),
                     "pass the number of processors to use"};
  });
  check(!inside_region, "set_thread_count", [] {
    return Complaint{"it was called from inside a parallel region, which uses the threads",
                     "call it between operations"};
  });
  wanted_threads.store(count);
  if (Pool* const ready = pool.load()) ready->resize(count);
}

void detail::run_chunks(int64_t n, int64_t grain, void (*body)(void*, int64_t, int64_t), void* data) {
  if (n <= 0) return;
  if (n <= grain) return body(data, 0, n);
  grain = std::max(grain, int64_t{1});
  if ((n + grain - 1) / grain > (int64_t{1} << 30)) grain = n / (int64_t{1} << 30) + 1;  // chunk numbers fit 32 bits
  int64_t const chunks = (n + grain - 1) / grain;
  if (!inside_region && thread_count() > 1 && the_pool().run(n, grain, chunks, body, data)) return;
  for (int64_t begin = 0; begin < n; begin += grain) body(data, begin, std::min(begin + grain, n));
}

}  // namespace heed
