// The backend around the kernels: memory by stream, copies beside kernels, errors that name launches, several devices.
#include <control.h>
#include <doctest/doctest.h>
#include <heed/engine/backend.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/nn.h>
#include <heed/tests/support/emulated.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

using namespace heed;

namespace {

Device device(int index = 0) {
  Device const first = test::emulated_device();
  return {first.kind, uint8_t(index)};
}

/// Half of the block waits where the other half never comes.
__global__ void divided_barrier(int*) {
  if (threadIdx.x < 16) __syncthreads();
}

/// The emulator's settings as they were, and the device alive.
struct Restored {
  emu::Settings const before = emu::settings();
  Restored() { emu::settings().quiet = true; }
  ~Restored() {
    emu::reset();
    (void)test::emulator_complaints();
    emu::settings() = before;
  }
};

std::string error_of(auto const& f) {
  try {
    f();
  } catch (Error const& e) {
    return e.what();
  }
  return "";
}
bool names(std::string const& text, std::string const& part) { return text.find(part) != text.npos; }

}  // namespace

TEST_CASE("exhausted memory: what is kept is given back first, then an Error, and the device stays usable") {
  Device const there = device();
  backend(there).release_cached();
  Restored const restored;
  emu::settings().exact_blocks = false;
  emu::settings().memory = size_t(1) << 20;
  {
    Tensor const a(Shape{100 << 10}, Dtype::f32, there);  // 400 KiB
    Tensor const b(Shape{100 << 10}, Dtype::f32, there);
  }
  // Both blocks are kept; a larger one fits only where they are given back.
  Tensor const large(Shape{200 << 10}, Dtype::f32, there);
  std::string const problem = error_of([&] { Tensor const more(Shape{200 << 10}, Dtype::f32, there); });
  CHECK(names(problem, "819200 bytes"));
  CHECK(names(problem, "smaller batch"));
  CHECK(names(error_of([&] { ones({200 << 10}).to(there); }), "819200 bytes"));
  CHECK(names(error_of([&] { DeviceScratch<float> const scratch(200 << 10); }), "819200 bytes"));
  CHECK(sum(ones({8}).to(there) + 1).item() == 16);
  backend(there).release_cached();
}

TEST_CASE("a launch that fails names kernel and geometry, and those before it") {
  Tensor const x = ones({4, 8}).to(device());
  backend(device()).synchronize(0);
  Restored const restored;
  Tensor const y = softmax(x, 1);
  emu::settings().launch_failures = 1;
  std::string const problem = error_of([&] { softmax(y, 1); });
  CHECK(names(problem, "injected failure"));
  CHECK(names(problem, "1 x 1 threads"));
  CHECK(names(problem, "given before: "));
  CHECK(names(problem, "HEED_CUDA_SYNC=1"));
}

TEST_CASE("a kernel's fault surfaces at the next synchronisation, which names the last launches") {
  Tensor const x = ones({4, 8}).to(device());
  Restored const restored;
  Tensor const y = softmax(x, 1);
  launch(divided_barrier, "divided_barrier", {1}, {32}, 0, static_cast<int*>(nullptr));
  Tensor const z = exp(y);
  std::string const problem = error_of([&] { backend(device()).synchronize(0); });
  CHECK(names(problem, "softmax"));
  CHECK(names(problem, "divided_barrier (1 x 1 x 1 blocks of 32 x 1 x 1 threads)"));
  CHECK(names(problem, "HEED_CUDA_SYNC=1"));
  CHECK(names(error_of([&] { (void)sum(z).item(); }), "divided_barrier"));  // it stays so
}

TEST_CASE("HEED_CUDA_SYNC=1: the kernel that failed is the last one named") {
  if (std::getenv("HEED_CUDA_SYNC")) {
    (void)ones({4}).to(device());
    Restored const restored;
    std::string const problem =
        error_of([&] { launch(divided_barrier, "divided_barrier", {1}, {32}, 0, static_cast<int*>(nullptr)); });
    CHECK(names(problem, "divided_barrier: "));
    CHECK(names(problem, "the last kernel named is the one"));
    return;
  }
  pid_t const child = fork();
  if (child == 0) {
    setenv("HEED_CUDA_SYNC", "1", 1);
    unsetenv("HEED_TEST_RESULTS");  // the counts are this process's
    execl("/proc/self/exe", "cuda_runtime_test", "-tc=HEED_CUDA_SYNC*", "--no-intro", static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("copies from the host come beside kernels, and neither sees the other's half-done work") {
  for (uint64_t const seed : {0, 1, 2, 3, 4, 5, 6, 7}) {
    CAPTURE(seed);
    Restored const restored;
    emu::settings().seed = seed;
    emu::settings().exact_blocks = false;  // so that blocks are used again
    Tensor total = zeros({300}).to(device());
    for (int step = 1; step <= 6; ++step) {
      Tensor const batch = full({300}, float(step)).to(device());  // the block of the one before, which is still read
      total = total + batch * batch;
    }
    CHECK(equal(total.to(cpu), full({300}, 91.f)));
    CHECK(test::emulator_complaints() == "");
  }
}

TEST_CASE("copies longer than the ring of pinned buffers arrive whole") {
  for (int64_t const n : {1, 262143, 262144, 262145, 1500000}) {
    CAPTURE(n);
    Tensor const x = arange(n).to(Dtype::f32);
    CHECK(equal(x.to(device()).to(cpu), x));
  }
}

TEST_CASE("scratch memory is used again by what is queued behind, without waiting") {
  (void)ones({4}).to(device());
  Restored const restored;
  emu::settings().exact_blocks = false;
  void* first = nullptr;
  {
    DeviceScratch<float> const scratch(1000);
    first = scratch.data();
  }
  DeviceScratch<float> const scratch(990);
  CHECK(scratch.data() == first);
}

TEST_CASE("tensors and modules on two devices") {
  Device const other = device(1);
  nn::Linear model(5, 3);
  Tensor const x = randn({4, 5});
  Tensor const want = model(x);
  for (Device const to : {device(), other, cpu, other}) {
    nn::to(model, to);
    Tensor const y = model(x.to(to));
    CHECK(y.device() == to);
    CHECK(allclose(y.to(cpu), want, 1e-5, 1e-6));
  }
  CHECK(equal(x.to(device()).to(other).to(cpu), x));
  CHECK(names(error_of([&] { (void)(x.to(device()) + x.to(other)); }), "operands on one device"));
  CHECK(names(error_of([&] { x.to(device(9)); }), "only 2 of its kind"));

  // A thread for each; each device's work is its own.
  std::vector<double> sums(2);
  std::vector<std::thread> threads;
  for (int d : {0, 1})
    threads.emplace_back([&, d] {
      Tensor y = x.to(device(d));
      for (int i = 0; i < 20; ++i) y = y + 1;
      sums[size_t(d)] = sum(y).item();
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(sums[0] == sums[1]);
  CHECK(sums[0] == doctest::Approx(sum(x).item() + 400));
}
