// The emulator runs correct kernels correctly, in any order, and says what is wrong with bad uses of the runtime.
#include <control.h>
#include <doctest/doctest.h>
#include <heed/engine/cuda/rt.h>

#include <cmath>
#include <string>
#include <vector>

#include "samples.h"

namespace rt = heed::rt;
namespace samples = heed::samples;

namespace {

/// Settings for one case.
struct With {
  heed::emu::Settings const before = heed::emu::settings();
  With() { heed::emu::settings().quiet = true; }
  ~With() {
    heed::emu::reset();
    heed::emu::settings() = before;
  }
};

/// What is reported of one launch on 64 integers, all 0; "" for nothing.
template <class... P>
std::string report_of(void (*kernel)(P...), unsigned blocks, unsigned threads) {
  heed::emu::reset();
  void* block = nullptr;
  REQUIRE(rt::allocate(block, 64 * sizeof(int)));
  REQUIRE(rt::fill_bytes(block, 0, 64 * sizeof(int), nullptr));
  REQUIRE(rt::launch(kernel, {"test", {blocks}, {threads}}, block));
  auto const status = rt::synchronize(nullptr);
  std::string const text = heed::emu::reports().empty() ? "" : heed::emu::reports().front();
  CHECK(bool(status) == text.empty());
  if (!status) {
    // The device is dead until the program (or this) starts anew.
    CHECK(!rt::launch(kernel, {"test", {blocks}, {threads}}, block));
    CHECK(std::string(status.text) == text);
  }
  heed::emu::reset();
  REQUIRE(rt::release(block));
  return text;
}
bool has(std::string const& text, char const* part) { return text.find(part) != std::string::npos; }

__global__ void fill_kernel(int* to, int value) { to[threadIdx.x] = value; }

}  // namespace

TEST_CASE("kernels give right results in every order") {
  With const settings;
  for (uint64_t seed = 0; seed < 21; ++seed) {
    CAPTURE(seed);
    heed::emu::settings().seed = seed;
    heed::emu::settings().eager = seed % 3 == 1;
    heed::emu::settings().perturb = seed % 2 == 1;
    CHECK(samples::run(samples::Bug::none) == "");
    CHECK(heed::emu::reports().empty());
    heed::emu::reset();
  }
}

TEST_CASE("atomics, votes and reductions over a warp") {
  // Written where the kernel can be seen: a lambda without captures is a function.
  void (*const kernel)(int*) = [](int* to) {
    int const i = int(threadIdx.x), lane = i & 31;
    to[i] = __shfl_up_sync(0xffffffffu, i, 1);
    to[64 + i] = __shfl_down_sync(0xffffffffu, i, 3, 8);
    to[128 + i] = __shfl_sync(0xffffffffu, i, 5, 16);
    to[192 + i] = int(__ballot_sync(0xffffffffu, lane % 2));
    to[256 + i] = __any_sync(0xffffffffu, i == 40) + 2 * __all_sync(0xffffffffu, i < 32);
    to[320 + i] = __reduce_add_sync(0xffffffffu, i) + __syncthreads_count(lane < 3);
    atomicAdd(&to[384], 1);
    atomicMax(&to[385], i);
    atomicCAS(&to[386], 0, 7);
  };
  void* block = nullptr;
  REQUIRE(rt::allocate(block, 387 * sizeof(int)));
  REQUIRE(rt::fill_bytes(block, 0, 387 * sizeof(int), nullptr));
  REQUIRE(rt::launch(kernel, {"warp", {1}, {64}}, block));
  std::vector<int> is(387);
  REQUIRE(rt::copy_to_host(is.data(), block, is.size() * sizeof(int), nullptr));
  REQUIRE(rt::synchronize(nullptr));
  for (int i = 0; i < 64; ++i) {
    int const lane = i % 32, j = i;
    CHECK(is[size_t(j)] == (lane == 0 ? i : i - 1));
    CHECK(is[size_t(64 + j)] == (i % 8 + 3 < 8 ? i + 3 : i));
    CHECK(is[size_t(128 + j)] == i / 16 * 16 + 5);
    CHECK(unsigned(is[size_t(192 + j)]) == 0xaaaaaaaau);
    CHECK(is[size_t(256 + j)] == (i < 32 ? 2 : 1));
    CHECK(is[size_t(320 + j)] == (i < 32 ? 496 : 496 + 1024) + 6);
  }
  CHECK(is[384] == 64);
  CHECK(is[385] == 63);
  CHECK(is[386] == 7);
  REQUIRE(rt::release(block));
}

TEST_CASE("memory has an end, and its edges are watched") {
  With const settings;
  heed::emu::settings().memory = 1 << 20;
  void *large = nullptr, *more = nullptr;
  REQUIRE(rt::allocate(large, 900 << 10));
  CHECK(uintptr_t(large) % 512 == 0);
  auto const status = rt::allocate(more, 200 << 10);
  CHECK(status.kind == rt::Kind::out_of_memory);
  CHECK(more == nullptr);
  REQUIRE(rt::release(large));
  REQUIRE(rt::allocate(more, 200 << 10));
  REQUIRE(rt::release(more));
  CHECK(!rt::release(more));
  int host = 0;
  CHECK(!rt::release(&host));
}

TEST_CASE("launches that no device runs are refused, injected failures come as often as asked") {
  With const settings;
  void* block = nullptr;
  REQUIRE(rt::allocate(block, 4096));
  int* const to = static_cast<int*>(block);
  CHECK(rt::launch(fill_kernel, {"fill", {1}, {1025}}, to, 1).kind == rt::Kind::bad_launch);
  CHECK(rt::launch(fill_kernel, {"fill", {0}, {32}}, to, 1).kind == rt::Kind::bad_launch);
  CHECK(rt::launch(fill_kernel, {"fill", {1, 65536}, {32}}, to, 1).kind == rt::Kind::bad_launch);
  CHECK(rt::launch(fill_kernel, {"fill", {1}, {32}, 200 << 10}, to, 1).kind == rt::Kind::bad_launch);
  heed::emu::settings().launch_failures = 4;
  int failures = 0;
  for (int i = 0; i < 100; ++i) failures += !rt::launch(fill_kernel, {"fill", {1}, {32}}, to, 1);
  CHECK(failures > 5);
  CHECK(failures < 60);
  REQUIRE(rt::release(block));
}

TEST_CASE("what is queued runs when somebody waits, unless eager") {
  With const settings;
  rt::Stream stream;
  rt::Event event;
  void *block = nullptr, *host = nullptr;
  REQUIRE(rt::create_stream(stream));
  REQUIRE(rt::create_event(event));
  REQUIRE(rt::allocate(block, 32 * sizeof(int)));
  REQUIRE(rt::allocate_pinned(host, 32 * sizeof(int)));
  int* const to = static_cast<int*>(host);
  to[3] = 0;
  for (bool const eager : {false, true}) {
    heed::emu::settings().eager = eager;
    int const value = eager ? 5 : 4;
    REQUIRE(rt::launch(fill_kernel, {"fill", {1}, {32}, 0, stream}, static_cast<int*>(block), value));
    REQUIRE(rt::copy_to_host(to, block, 32 * sizeof(int), stream));
    REQUIRE(rt::record(event, stream));
    CHECK(to[3] == (eager ? 5 : 0));
    bool done = false;
    for (int i = 0; i < 10 && !done; ++i) REQUIRE(rt::query_event(event, done));
    CHECK(done);
    CHECK(to[3] == value);
  }
  REQUIRE(rt::release_pinned(host));
  REQUIRE(rt::release(block));
  REQUIRE(rt::destroy_event(event));
  REQUIRE(rt::destroy_stream(stream));
}

TEST_CASE("devices") {
  int count = 0;
  REQUIRE(rt::device_count(count));
  CHECK(count == heed::emu::settings().devices);
  rt::DeviceFacts facts;
  REQUIRE(rt::facts(0, facts));
  CHECK(facts.memory == heed::emu::settings().memory);
  CHECK(!rt::facts(count, facts));
  CHECK(!rt::set_device(-1));
}

TEST_CASE("divergence has a name") {
  With const settings;
  for (uint64_t seed : {0, 1, 2}) {
    heed::emu::settings().seed = seed;
    auto text = report_of(
        +[](int*) { __shfl_sync(0xffffu, 1, 0); }, 1, 32);
    CHECK(has(text, "the mask 0xffff"));
    text = report_of(
        +[](int*) { __syncwarp(); }, 1, 48);
    CHECK(has(text, "a warp of 16 threads"));
    text = report_of(
        +[](int* to) {
          if (threadIdx.x < 32)
            __syncthreads();
          else
            __syncthreads();
          to[0] = 1;
        },
        1, 64);
    CHECK(has(text, "divergence"));
    text = report_of(
        +[](int* to) {
          if (threadIdx.x < 3) return;
          to[threadIdx.x] = __any_sync(0xffffffffu, 1);
        },
        1, 32);
    CHECK(has(text, "3 exited"));
    text = report_of(
        +[](int* to) { to[0] = __popc(7), __trap(); }, 1, 32);
    CHECK(has(text, "__trap"));
  }
}

TEST_CASE("what a kernel writes behind a block is noticed when it is released") {
  With const settings;
  if (heed::emu::checks_accesses()) return;  // at once there
#if !defined(__SANITIZE_ADDRESS__)
  void* block = nullptr;
  REQUIRE(rt::allocate(block, 100));
  REQUIRE(rt::launch(fill_kernel, {"fill", {1}, {26}}, static_cast<int*>(block), 1));
  REQUIRE(rt::synchronize(nullptr));
  CHECK(heed::emu::reports().empty());
  REQUIRE(rt::release(block));
  REQUIRE(heed::emu::reports().size() == 1);
  CHECK(has(heed::emu::reports()[0], "0 bytes past the end"));
#endif
}

#if defined(HEED_EMU_RACE)
TEST_CASE("races: bytes") {
  With const settings;
  for (uint64_t seed : {0, 1, 2, 3}) {
    heed::emu::settings().seed = seed;
    CHECK(report_of(
              +[](int* to) { reinterpret_cast<char*>(to)[threadIdx.x] = char(threadIdx.x); }, 1, 64) == "");
    CHECK(report_of(
              +[](int* to) { reinterpret_cast<short*>(to)[blockIdx.x * 3 + threadIdx.x] = short(threadIdx.x); }, 5,
              3) == "");
    CHECK(has(report_of(
                  +[](int* to) { reinterpret_cast<char*>(to)[threadIdx.x / 2] = char(threadIdx.x); }, 1, 64),
              "race: writes"));
    // One writes the word, another reads a byte of it.
    CHECK(has(report_of(
                  +[](int* to) {
                    auto const* const bytes = reinterpret_cast<unsigned char const*>(to);
                    if (threadIdx.x == 0)
                      to[1] = 7;
                    else
                      to[threadIdx.x + 1] = bytes[6];
                  },
                  1, 2),
              "race: "));
    // Bytes, a barrier, then the words; once more without the barrier.
    CHECK(report_of(
              +[](int* to) {
                reinterpret_cast<char*>(to)[threadIdx.x] = 1;
                __syncthreads();
                if (threadIdx.x < 16) to[32 + threadIdx.x] = to[threadIdx.x];
              },
              1, 64) == "");
    CHECK(has(report_of(
                  +[](int* to) {
                    reinterpret_cast<char*>(to)[threadIdx.x] = 1;
                    __syncwarp();
                    if (threadIdx.x < 16) to[32 + threadIdx.x] = to[threadIdx.x];
                  },
                  1, 64),
              "race: "));
  }
}

TEST_CASE("races: readers, barriers, blocks") {
  With const settings;
  for (uint64_t seed : {0, 1, 2, 3}) {
    heed::emu::settings().seed = seed;
    // All read one word, one writes it.
    CHECK(has(report_of(
                  +[](int* to) {
                    to[threadIdx.x + 1] = to[0];
                    if (threadIdx.x == 5) to[0] = 1;
                  },
                  1, 40),
              "race: "));
    CHECK(report_of(
              +[](int* to) {
                to[threadIdx.x + 1] = to[0];
                __syncthreads();
                if (threadIdx.x == 5) to[0] = 1;
                __syncthreads();
                to[threadIdx.x + 1] += to[0];
              },
              1, 40) == "");
    // A block's barrier orders nothing in another.
    CHECK(has(report_of(
                  +[](int* to) {
                    to[blockIdx.x * 4 + threadIdx.x + 1] = to[0];
                    __syncthreads();
                    if (blockIdx.x == 1 && threadIdx.x == 0) to[0] = 1;
                  },
                  2, 4),
              "race: "));
    // What follows in the stream sees it all.
    heed::emu::reset();
  }
}

TEST_CASE("races: atomic operations") {
  With const settings;
  for (uint64_t seed : {0, 1, 2, 3}) {
    heed::emu::settings().seed = seed;
    CHECK(report_of(
              +[](int* to) { atomicAdd(to, 1), atomicMax(to + 1, int(threadIdx.x)); }, 3, 64) == "");
    CHECK(has(report_of(
                  +[](int* to) {
                    if (threadIdx.x == 0) *to = 0;
                    __syncthreads();
                    atomicAdd(to, 1);
                  },
                  3, 64),
              "race: "));
    CHECK(has(report_of(
                  +[](int* to) {
                    atomicAdd(to, 1);
                    to[threadIdx.x + 1] = to[0];
                  },
                  1, 33),
              "race: "));
    CHECK(report_of(
              +[](int* to) {
                atomicAdd(to, 1);
                __syncthreads();
                to[threadIdx.x + 1] = to[0];
              },
              1, 33) == "");
    // A volatile read is as an atomic one: how a loop around atomicCAS begins.
    CHECK(report_of(
              +[](int* to) {
                int old = *static_cast<int volatile*>(to), seen;
                do {
                  seen = old;
                  old = atomicCAS(to, seen, seen + 2);
                } while (old != seen);
              },
              3, 64) == "");
  }
}

TEST_CASE("alignment, and what was never written") {
  With const settings;
  CHECK(has(report_of(
                +[](int* to) { *reinterpret_cast<long long*>(to + 1) = 1; }, 1, 1),
            "misaligned: writes 8 bytes"));
  void *from = nullptr, *to = nullptr;
  REQUIRE(rt::allocate(from, 64));
  REQUIRE(rt::allocate(to, 64));
  std::vector<char> host(64);
  REQUIRE(rt::fill_bytes(from, 1, 40, nullptr));
  REQUIRE(rt::copy_on_device(to, from, 64, nullptr));
  REQUIRE(rt::copy_to_host(host.data(), to, 40, nullptr));
  CHECK(rt::synchronize(nullptr));
  CHECK(heed::emu::reports().empty());
  REQUIRE(rt::copy_to_host(host.data(), to, 41, nullptr));
  CHECK(!rt::synchronize(nullptr));
  REQUIRE(heed::emu::reports().size() == 1);
  CHECK(has(heed::emu::reports()[0], "uninitialised: reads 41 bytes"));
  heed::emu::reset();
  REQUIRE(rt::release(from));
  REQUIRE(rt::release(to));
}
#endif
