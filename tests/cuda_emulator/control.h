// What a test sets of the emulator and asks from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace heed {
inline namespace emu {

/// Read once from the environment variables named beside; a test may change them between launches.
struct Settings {
  uint64_t seed = 0;                // HEED_EMU_SEED: 0: blocks, warps and lanes in order; otherwise shuffled by it
  bool eager = false;               // HEED_EMU_EAGER: operations of streams run when they are queued
  int devices = 2;                  // HEED_EMU_DEVICES, at most 4
  size_t memory = size_t(1) << 30;  // HEED_EMU_MEMORY: bytes a device has
  unsigned launch_failures = 0;  // HEED_EMU_LAUNCH_FAILURES: one launch in so many fails, chosen by the seed; 0: none
  bool perturb = false;          // HEED_EMU_PERTURB: approximate functions err by up to 2 units in the last place
  bool exact_blocks =
      false;  // HEED_EMU_EXACT: of the backend's memory, see engine/cuda/backend.cu; on where accesses are looked at
  bool quiet = false;  // HEED_EMU_QUIET: reports are kept, not printed
};
Settings& settings();

/// What went wrong since the last reset, one text each.
std::vector<std::string> const& reports();
/// Forgets faults, reports, and the operations not run yet.
void reset();
/// Whether this build looks at every access of a kernel.
bool checks_accesses();

}  // namespace emu
}  // namespace heed
