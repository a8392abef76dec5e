// The thread pool: every chunk once, exceptions, nesting, several callers, changes of size, fork. Meaningful under
// TSan.
#include <doctest/doctest.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

struct Threads {
  int before = thread_count();
  explicit Threads(int count) { set_thread_count(count); }
  ~Threads() { set_thread_count(before); }
};

/// How often each index was visited; plain counters, so that TSan sees two threads at one index.
std::vector<int> visits(int64_t n, int64_t grain) {
  std::vector<int> count(size_t(n), 0);
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++count[size_t(i)];
  });
  return count;
}

}  // namespace

TEST_CASE("every index is visited once, in chunks of the grain") {
  for (int threads : {1, 2, 3, 8}) {
    Threads const set(threads);
    for (int64_t n : {0, 1, 7, 100, 1000, 4099})
      for (int64_t grain : {1, 3, 64, 5000}) {
        INFO(threads, " threads, n ", n, ", grain ", grain);
        CHECK(visits(n, grain) == std::vector<int>(size_t(n), 1));
        std::atomic<int64_t> chunks{0}, ragged{0};
        parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          ++chunks;
          if (begin % grain != 0 || (end - begin != grain && end != n)) ++ragged;
        });
        CHECK(chunks == (n + grain - 1) / grain);
        CHECK(ragged == 0);
      }
  }
  int calls = 0;
  parallel_for(-5, 1, [&](int64_t, int64_t) { ++calls; });
  CHECK(calls == 0);
  CHECK(visits(10, 0) == std::vector<int>(10, 1));  // a grain below 1 counts as 1
}

TEST_CASE("what a region wrote is seen by the caller, and what the caller wrote by the region") {
  Threads const set(4);
  std::vector<int64_t> data(1000);
  for (int round = 0; round < 200; ++round) {
    std::iota(data.begin(), data.end(), round);
    parallel_for(1000, 10, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) data[size_t(i)] *= 2;
    });
    REQUIRE(std::accumulate(data.begin(), data.end(), int64_t{0}) == 2 * (999 * 500 + 1000 * round));
  }
}

TEST_CASE("the first exception reaches the caller, and the pool goes on") {
  for (int threads : {1, 2, 4}) {
    Threads const set(threads);
    for (int round = 0; round < 50; ++round) {
      std::string caught;
      std::atomic<int> running{0};
      try {
        parallel_for(100, 1, [&](int64_t begin, int64_t) {
          ++running;
          if (begin % 7 == 3) {
            --running;
            throw std::runtime_error("chunk");
          }
          --running;
        });
      } catch (std::runtime_error const& error) {
        caught = error.what();
      }
      CHECK(caught == "chunk");
      CHECK(running == 0);  // nobody works on once the caller has left
      CHECK(visits(100, 1) == std::vector<int>(100, 1));
    }
  }
}

TEST_CASE("nested regions run inline") {
  Threads const set(4);
  std::vector<int> count(64 * 64, 0);
  std::atomic<int> strangers{0};
  parallel_for(64, 1, [&](int64_t begin, int64_t end) {
    auto const self = std::this_thread::get_id();
    for (int64_t i = begin; i < end; ++i)
      parallel_for(64, 1, [&](int64_t from, int64_t to) {
        if (std::this_thread::get_id() != self) ++strangers;
        for (int64_t j = from; j < to; ++j) ++count[size_t(i * 64 + j)];
      });
  });
  CHECK(strangers == 0);
  CHECK(count == std::vector<int>(64 * 64, 1));
  // An exception in a nested region passes through both.
  CHECK_THROWS_AS(parallel_for(8, 1, [](int64_t, int64_t) { parallel_for(8, 1, [](int64_t, int64_t) { throw 1; }); }),
                  int);
  CHECK(visits(50, 1) == std::vector<int>(50, 1));
}

TEST_CASE("several threads call at once") {
  Threads const set(3);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([&, t] {
      for (int round = 0; round < 200; ++round) {
        int64_t const n = 10 + (round * 7 + t) % 90;
        if (visits(n, 1 + t) != std::vector<int>(size_t(n), 1)) ++wrong;
      }
    });
  for (auto& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("the number of threads changes between regions, also while others work") {
  int const before = thread_count();
  for (int threads : {1, 5, 2, 8, 1, 3}) {
    set_thread_count(threads);
    CHECK(thread_count() == threads);
    CHECK(visits(500, 3) == std::vector<int>(500, 1));
  }
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::thread worker([&] {
    while (!done)
      if (visits(200, 2) != std::vector<int>(200, 1)) ++wrong;
  });
  for (int round = 0; round < 60; ++round) set_thread_count(1 + round % 4);
  done = true;
  worker.join();
  CHECK(wrong == 0);
  set_thread_count(before);
  for (int bad : {0, -1, 100000})
    CHECK(error_of([&] { set_thread_count(bad); }).find("threads, got " + std::to_string(bad)) != std::string::npos);
  CHECK(thread_count() == before);
}

TEST_CASE("no more threads work than were asked for") {
  for (int threads : {1, 2, 3}) {
    Threads const set(threads);
    std::atomic<int> now{0}, most{0};
    for (int round = 0; round < 5; ++round)
      parallel_for(60, 1, [&](int64_t, int64_t) {
        int const here = ++now;
        for (int seen = most.load(); here > seen && !most.compare_exchange_weak(seen, here);) {
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        --now;
      });
    CHECK(most <= threads);
    if (threads > 1) CHECK(most > 1);  // sleeping chunks overlap even on one processor
  }
}

TEST_CASE("many tiny regions") {
  Threads const set(4);
  int64_t total = 0;
  for (int round = 0; round < 20000; ++round) {
    int64_t parts[4] = {};
    parallel_for(4, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) parts[i] = i;
    });
    total += parts[0] + parts[1] + parts[2] + parts[3];
  }
  CHECK(total == 20000 * 6);
}

TEST_CASE("a pool that slept wakes up") {
  Threads const set(3);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // far beyond the spin
    CHECK(visits(300, 1) == std::vector<int>(300, 1));
  }
}

TEST_CASE("results do not depend on the number of threads") {
  Tensor const a = numbers({257, 401}, 1, Dtype::f32), b = numbers({401, 123}, 2, Dtype::f32);
  auto compute = [&] { return sum(softmax(matmul(a, b)) * numbers({257, 123}, 3, Dtype::f32), {0}); };
  set_thread_count(1);
  Tensor const one = compute();
  for (int threads : {2, 3, 4, 7}) {
    Threads const set(threads);
    CHECK(same_bits(compute(), one));
  }
}

TEST_CASE("operations of several threads at once") {
  Threads const set(2);
  Tensor const a = numbers({120, 130}, 1, Dtype::f32);
  Tensor const want = matmul(a, a.t());
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 3; ++t)
    callers.emplace_back([&] {
      for (int round = 0; round < 20; ++round)
        if (!same_bits(matmul(a, a.t()), want)) ++wrong;
    });
  for (auto& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("after fork the child has a pool of its own") {
#if defined(__SANITIZE_THREAD__)
  skip("ThreadSanitizer does not follow fork with threads");
#else
  Threads const set(3);
  CHECK(visits(300, 1) == std::vector<int>(300, 1));
  for (int round = 0; round < 3; ++round) {
    pid_t const child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      alarm(20);  // a child that hangs is killed
      bool const right = visits(300, 1) == std::vector<int>(300, 1) && sum(ones({100000})).item() == 100000;
      _exit(right ? 0 : 1);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(visits(300, 1) == std::vector<int>(300, 1));
  }
#endif
}
