// The little of CUDA's runtime that the backend stands on, with two implementations: CUDA's own (rt_cuda.cu) and the
// emulator's (tests/cuda_emulator). Nothing here throws; a Status says what went wrong.
#pragma once

#include <heed/engine/cuda/kernel.h>

#include <cstddef>
#include <cstdint>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace rt {

using Stream = void*;
using Event = void*;

enum class Kind : uint8_t { none, out_of_memory, bad_launch, no_driver, other };
/// What a call gave: `text` is a literal of the runtime's, valid for ever. A failure of an earlier asynchronous call
/// may surface in any later one.
struct Status {
  Kind kind = Kind::none;
  int code = 0;
  char const* text = "";
  explicit operator bool() const { return kind == Kind::none; }
};

struct DeviceFacts {
  char name[64];
  int compute_major, compute_minor, multiprocessors;
  size_t memory, shared_per_block;  // bytes; the second as a kernel may ask for at most
};

/// Devices there are; 0 with a Status that says why there is none.
Status device_count(int& count);
Status facts(int device, DeviceFacts& to);
/// For this thread, what follows.
Status set_device(int device);

Status allocate(void*& to, size_t bytes);  // aligned to 512
Status release(void* block);
Status allocate_pinned(void*& to, size_t bytes);
Status release_pinned(void* block);

Status create_stream(Stream& to);
Status destroy_stream(Stream stream);
Status synchronize(Stream stream);
/// done says whether all that was queued has finished.
Status query(Stream stream, bool& done);
Status create_event(Event& to);  // without timing
Status destroy_event(Event event);
Status record(Event event, Stream stream);
Status wait(Stream stream, Event event);
Status query_event(Event event, bool& done);
Status synchronize_event(Event event);

/// Queued. Host memory that is not pinned is read before the call returns, and written only after synchronize().
Status copy_to_device(void* to, void const* from, size_t bytes, Stream stream);
Status copy_to_host(void* to, void const* from, size_t bytes, Stream stream);
Status copy_on_device(void* to, void const* from, size_t bytes, Stream stream);
Status fill_bytes(void* to, int byte, size_t bytes, Stream stream);

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};
struct Launch {
  char const* name;  // of the kernel, for errors
  Dim grid, block;
  size_t shared = 0;  // bytes of dynamic shared memory
  Stream stream = nullptr;
};

/// kernel<<<…>>>(arguments…), queued; arguments are converted to the kernel's parameter types and copied.
template <class... P, class... A>
Status launch(void (*kernel)(P...), Launch const& how, A const&... arguments);

}  // namespace rt
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed

#if defined(__CUDACC__)
#include <heed/engine/cuda/rt_launch.h>
#else
#include <emulator_launch.h>
#endif
