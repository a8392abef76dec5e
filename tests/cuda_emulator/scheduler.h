// Runs a kernel: blocks one after another, their threads as fibers.
#pragma once

#include <heed/engine/cuda/rt.h>

#include <string>

namespace heed::emulator {

/// "": it ran to its end; otherwise what is wrong with it. `operation` is its number among those of all streams.
std::string run_kernel(emu::Call const& call, rt::Launch const& how, int device, uint32_t operation);

/// Whether a thread of a kernel runs; what it is, for reports.
bool kernel_runs();
std::string describe_thread(uint32_t block, unsigned thread);
std::string describe_launch();
/// The kernel's accesses are no longer looked at: what follows is ours.
void stop_watching();
/// Why it fails; then its end, which leaves the thread's stack as it is: what is there must own nothing.
void note_failure(std::string const& what);
[[noreturn]] void end_kernel();

inline std::string text_of(std::string const& text) { return text; }
inline std::string text_of(char const* text) { return text; }
inline std::string text_of(size_t number) { return std::to_string(number); }
inline std::string text_of(int number) { return std::to_string(number); }
std::string text_of(emu::Site const& site);
std::string text_of(void const* address);

/// Ends the kernel that runs; the parts together say why. (They become text here and not in the caller, whose strings
/// an instrumented file may have compiled.)
template <class... Parts>
[[noreturn]] void fail(Parts const&... parts) {
  stop_watching();
  note_failure((text_of(parts) + ...));
  end_kernel();
}

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
