// The thread pool. Chunk boundaries depend on sizes alone, never on the number of threads, so results do not either.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace heed {

/// Threads that parallel_for uses, the caller included: HEED_THREADS, else the processors this process may run on.
int thread_count();
/// `count` >= 1; takes effect at the next parallel_for.
void set_thread_count(int count);

namespace detail {
/// body(data, begin, end) for every chunk [c·grain, min(n, (c+1)·grain)), each once, by any thread.
void run_chunks(int64_t n, int64_t grain, void (*body)(void*, int64_t, int64_t), void* data);
}  // namespace detail

/// Calls body(begin, end) over [0, n) in chunks of `grain`, workers claiming chunks dynamically; returns when all are
/// done. Nested calls run inline; the first exception of a chunk reaches the caller. A chunk should be worth 5 µs or
/// more.
template <class Body>
void parallel_for(int64_t n, int64_t grain, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  detail::run_chunks(  // one call for every size, so that the body is compiled once
      n, grain, [](void* data, int64_t begin, int64_t end) { (*static_cast<Plain*>(data))(begin, end); },
      const_cast<void*>(static_cast<void const*>(std::addressof(body))));
}

}  // namespace heed
