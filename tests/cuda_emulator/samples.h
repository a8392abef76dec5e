// Small kernels that use what real ones use, each with bugs that can be planted: the tests of the emulator itself.
#pragma once

#include <string>

namespace heed {
namespace samples {

enum class Bug {
  none,
  global_past_end,       // a read behind the last element
  shared_overflow,       // a write behind a shared array
  missing_barrier,       // the warps' sums are read before they are written
  divergent_barrier,     // __syncthreads where only one warp comes
  divergent_shuffle,     // a shuffle where only half a warp comes
  shared_past_end,       // a read behind a shared array, by lanes whose value nobody uses
  unordered_blocks,      // blocks add to one number without atomics
  gemm_tile_reuse,       // no barrier between the last use of a tile and the next tile
  attention_tile_reuse,  // the same in attention
  wait_off_by_one,       // waits for one group of copies too few
  stage_reuse,           // no barrier before a stage is overwritten
  missing_event_wait,    // one stream reads what another writes
  early_reuse,           // memory goes to another stream while the first still uses it
  uninitialised,         // reads memory nobody wrote
  host_pointer,          // a kernel gets a pointer of the host
  use_after_release,     // a kernel gets a pointer to freed memory
  shuffle_as_fence,      // lanes exchange by shared memory with a shuffle instead of __syncwarp
  other_device,          // a kernel of one device gets memory of another
  count
};
char const* name_of(Bug bug);

/// Runs the sample that the bug belongs to: what was noticed ("wrong result", or the runtime's text), "" if nothing.
std::string run(Bug bug);

/// Correct samples; the result's greatest error, or -1 if the runtime complained. Sizes as they are timed.
double sum(int n, Bug bug = Bug::none);
double gemm(int m, int n, int k, Bug bug = Bug::none);
double attention(int heads, int length, Bug bug = Bug::none);
double piped_gemm(int m, int n, int k, Bug bug = Bug::none);
double axpy(int n, int repeats);
double streams(Bug bug = Bug::none);

}  // namespace samples
}  // namespace heed
