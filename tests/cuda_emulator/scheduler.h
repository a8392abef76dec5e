// Runs a kernel: blocks one after another, their threads as fibers.
#pragma once

#include <heed/engine/cuda/rt.h>

#include <string>

namespace heed::emulator {

/// "": it ran to its end; otherwise what is wrong with it. `operation` is its number among those of all streams.
std::string run_kernel(Call const& call, rt::Launch const& how, int device, uint32_t operation);

/// Whether a thread of a kernel runs; what it is, for reports.
bool kernel_runs();
std::string describe_thread(uint32_t block, unsigned thread);
std::string describe_launch();
/// Ends the kernel that runs.
[[noreturn]] void fail(std::string const& what);

/// A sequence of random numbers, the same for the same seed.
struct Dice {
  uint64_t state;
  explicit Dice(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u) {}
  uint32_t operator()() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    uint32_t x = uint32_t(state >> 33) ^ uint32_t(state >> 17);
    x *= 0x85ebca6bu;
    return x ^ x >> 15;
  }
  uint32_t below(uint32_t n) { return uint32_t(uint64_t((*this)()) * n >> 32); }
};

}  // namespace heed::emulator
