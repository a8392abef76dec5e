// The caching allocator: reuse, statistics, release, poison and guards, exhaustion, blocks that change threads.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/hooks.h>
#include <heed/engine/ops.h>
#include <heed/engine/recompute.h>
#include <heed/engine/storage.h>
#include <heed/engine/tape.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

/// Poison as the case wants it; afterwards as main.cpp sets it.
struct Poison {
  explicit Poison(bool on) { set_poison(on); }
  ~Poison() {
    char const* const wanted = std::getenv("HEED_POISON");
    set_poison(!wanted || std::string(wanted) != "0");
  }
};

#if defined(__SANITIZE_ADDRESS__)
constexpr bool caching = false;
#else
constexpr bool caching = true;
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitizer_aborts = true;  // their allocators end the process where malloc would return null
#else
constexpr bool sanitizer_aborts = false;
#endif

/// Runs `body` in a child process; its exit status.
template <class Body>
int in_child(Body body) {
  pid_t const child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(20);
    _exit(body());
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("a freed block is used again, for sizes of its class") {
  Poison const off(false);
  if (!caching) return skip("AddressSanitizer builds do not cache");
  for (int64_t n : {100, 3000, 100000, 3000000}) {
    INFO(n, " elements");
    void* first;
    {
      Tensor const x = empty({n});
      first = x.raw();
    }
    size_t const acquired = memory_statistics().acquired;
    Tensor const y = empty({n});
    CHECK(y.raw() == first);
    CHECK(memory_statistics().acquired == acquired);
    Tensor const z = empty({n});
    CHECK(z.raw() != first);
  }
}

TEST_CASE("storages are aligned to 64 bytes and do not overlap") {
  for (bool poisoned : {false, true}) {
    Poison const mode(poisoned);
    std::vector<Tensor> live;
    for (int64_t n = 1; n < 200000; n = n * 5 / 4 + 1) live.push_back(full({n}, double(n % 1000)));
    for (Tensor const& x : live) {
      CHECK(reinterpret_cast<uintptr_t>(x.raw()) % 64 == 0);
      auto const v = x.to_vector<double>();
      bool same = true;
      for (double e : v) same &= e == double(x.numel() % 1000);
      CHECK(same);
    }
  }
}

TEST_CASE("statistics") {
  Poison const off(false);
  size_t const before = memory_statistics().in_use;
  {
    Tensor const a = empty({1000});
    CHECK(memory_statistics().in_use == before + 4000);
    Tensor const view = a.slice(0, 0, 10);
    CHECK(memory_statistics().in_use == before + 4000);
    {
      Tensor const b = empty({500}, Dtype::f64);
      CHECK(memory_statistics().in_use == before + 8000);
    }
    CHECK(memory_statistics().in_use == before + 4000);
    reset_peak_memory();
    CHECK(memory_statistics().peak == before + 4000);
    { Tensor const c = empty({2000}); }
    CHECK(memory_statistics().peak == before + 12000);
    CHECK(memory_statistics().in_use == before + 4000);
  }
  CHECK(memory_statistics().in_use == before);
  // A backward leaves nothing behind.
  {
    Tensor const x = numbers({100, 100}, 1).requires_grad_();
    sum(exp(matmul(x, x))).backward();
  }
  CHECK(memory_statistics().in_use == before);
}

TEST_CASE("release_cached_memory gives everything back, and the library goes on") {
  Poison const off(false);
  if (!caching) return skip("AddressSanitizer builds do not cache");
  { Tensor const x = empty({1 << 20}); }
  CHECK(memory_statistics().cached >= size_t{4} << 20);
  release_cached_memory();
  CHECK(memory_statistics().cached == 0);
  size_t const acquired = memory_statistics().acquired;
  Tensor const y = ones({1 << 20});
  CHECK(memory_statistics().acquired >= acquired + (size_t{4} << 20));
  CHECK(sum(y).item() == 1 << 20);
}

TEST_CASE("poison: fresh elements are NaN, also in blocks that held numbers") {
  {
    Poison const off(false);
    { Tensor const x = full({1000}, 7); }
  }
  Poison const on(true);
  { Tensor const x = full({1000}, 7); }
  for (Dtype dtype : {Dtype::f32, Dtype::f64})
    for (double v : empty({1000}, dtype).to_vector<double>()) REQUIRE(std::isnan(v));
  for (int64_t v : empty({10}, Dtype::i64).to_vector<int64_t>()) CHECK(v == -1);
  CHECK(zeros({3}).to_vector() == std::vector<float>{0, 0, 0});
}

TEST_CASE("guards: a write just outside a storage is found when it is released") {
#if defined(__SANITIZE_THREAD__)
  skip("ThreadSanitizer does not follow fork with threads");
#else
  Poison const on(true);
  size_t const before = guard_violations();
  { Tensor const x = ones({10}); }
  CHECK(guard_violations() == before);
  // In a child, since the run counts violations as failures.
  for (int64_t at : {int64_t{-1}, int64_t{10}, int64_t{-16}, int64_t{25}, int64_t{3}}) {
    int const found = in_child([&] {
      if (!std::freopen("/dev/null", "w", stderr)) return 9;
      {
        Tensor const x = ones({10});
        const_cast<float volatile*>(x.data<float>())[at] = 5;
      }
      return int(guard_violations() - before);
    });
    INFO("element ", at);
    CHECK(found == (at == 3 ? 0 : 1));
  }
#endif
}

TEST_CASE("memory that is not to be had throws, and the library stays usable") {
  auto const beyond = error_of([] { empty({int64_t{1} << 50}); });
  CHECK(beyond.find("allocate: ") == 0);
  CHECK(beyond.find("bytes is beyond any memory") != std::string::npos);
  CHECK(error_of([] { empty({int64_t{1} << 62}); }).find("[4611686018427387904]") != std::string::npos);
  if (sanitizer_aborts) return skip("a sanitizer's allocator ends the process");
  Poison const off(false);  // nothing may touch the pages
  size_t const before = memory_statistics().in_use;
  // 64 TiB of address space: more than a process has, whatever the kernel's policy on promises.
  std::vector<Tensor> hold;
  auto const text = error_of([&] {
    for (int i = 0; i < 8; ++i) hold.push_back(empty({(int64_t{1} << 43)}));
  });
  CHECK(text.find("bytes are not to be had") != std::string::npos);
  CHECK(text.find("smaller batch") != std::string::npos);
  hold.clear();
  release_cached_memory();
  CHECK(memory_statistics().in_use == before);
  CHECK(sum(ones({100})).item() == 100);
  // In the middle of an operation: nothing changed.
  Tensor x = ones({1, int64_t{1} << 22});
  Tensor const wide = x.expand({int64_t{1} << 22, int64_t{1} << 22});
  CHECK(error_of([&] { wide + 1.0; }) != "");
  CHECK(error_of([&] { wide.contiguous(); }) != "");
  CHECK(x.at(0, 5).item() == 1);
}

TEST_CASE("a block may be freed by another thread, and threads end with their caches") {
  for (int round = 0; round < 20; ++round) {
    std::vector<Tensor> made;
    std::thread([&] {
      for (int64_t n : {1, 50, 500, 5000, 50000}) made.push_back(full({n}, double(round)));
    }).join();
    for (Tensor const& x : made) CHECK(x.to_vector<double>().back() == round);
    std::thread([moved = std::move(made)]() mutable { moved.clear(); }).join();
    Tensor const y = ones({500});
    CHECK(sum(y).item() == 500);
  }
}

TEST_CASE("threads allocate and free at once") {
  size_t const before = memory_statistics().in_use;
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&wrong, t] {
      std::vector<Tensor> live;
      for (int i = 0; i < 2000; ++i) {
        live.push_back(full({1 + (i * 37 + t) % 4000}, double(t)));
        if (live.size() > 20) live.erase(live.begin() + (i * 7) % 20);
        if (i % 50 == 0)
          for (Tensor const& x : live) wrong[size_t(t)] += x.data<float>()[x.numel() - 1] != float(t);
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
  CHECK(memory_statistics().in_use == before);
}

TEST_CASE("one tensor is shared and dropped by many threads") {
  size_t const before = memory_statistics().in_use;
  for (int round = 0; round < 50; ++round) {
    Tensor const shared = ones({100});
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([copy = shared]() mutable {
        for (int i = 0; i < 20; ++i) {
          Tensor const view = copy.slice(0, i, 50);
          Tensor const other = copy;
        }
        copy = Tensor();
      });
    for (auto& thread : threads) thread.join();
    CHECK(shared.storage().use_count() == 1);
  }
  CHECK(memory_statistics().in_use == before);
}

TEST_CASE("backward frees what it has used as it goes") {
  Poison const off(false);
  size_t const unit = size_t{4} << 18, before = memory_statistics().in_use;  // bytes of one tensor
  int const depth = 20;
  std::vector<size_t> live;
  Tensor const x = full({1 << 18}, 0.1).requires_grad_();
  {
    Tensor y = x;
    for (int i = 0; i < depth; ++i) {
      y = sigmoid(y);
      hook(y, [&](Tensor const&) {
        live.push_back((memory_statistics().in_use - before) / unit);
        return Tensor();
      });
    }
    y = sum(y);
    size_t const forward = (memory_statistics().in_use - before) / unit;
    CHECK(forward == depth + 1);
    reset_peak_memory();
    y.backward();
    CHECK((memory_statistics().peak - before) / unit <= forward + 2);
  }
  REQUIRE(live.size() == depth);
  for (size_t i = 1; i < live.size(); ++i) CHECK(live[i] == live[i - 1] - (i > 1));
  CHECK(memory_statistics().in_use == before + 2 * unit);  // x and its gradient
}

TEST_CASE("ten thousand steps of a small net leave nothing behind") {
  Poison const off(false);
  Tensor w1 = numbers({8, 4}, 1, Dtype::f32).requires_grad_(), w2 = numbers({1, 8}, 2, Dtype::f32).requires_grad_();
  Tensor const x = numbers({16, 4}, 3, Dtype::f32), t = numbers({16, 1}, 4, Dtype::f32);
  auto layer = [&](Tensor const& in) { return dropout(layer_norm(gelu(linear(in, w1))), 0.1); };
  double last = 0;
  auto step = [&](int i) {
    Tensor const h = i % 3 ? layer(x) : recompute(layer, x);
    Tensor loss = mean(square(linear(h, w2) - t));
    if (i % 5 == 0) {  // a penalty on the gradient
      Tensor const g = grad({loss}, {w2}, {}, {.create_graph = true})[0];
      hook(g, [](Tensor const& gradient) { return gradient * 0.5; });
      loss = loss + sum(square(g));
    }
    loss.backward();
    NoGrad const off_tape;
    last = loss.item();
    for (Tensor* w : {&w1, &w2}) {
      w->sub_(w->grad() * 0.01);
      w->set_grad({});
    }
  };
  step(0);
  double const first = last;
  for (int i = 0; i < 100; ++i) step(i);
  auto const before = memory_statistics();
  for (int i = 0; i < 10'000; ++i) step(i);
  auto const after = memory_statistics();
  CHECK(after.in_use == before.in_use);
  if (caching) CHECK(after.acquired == before.acquired);  // not one block more from the system
  CHECK(last < first);
}
