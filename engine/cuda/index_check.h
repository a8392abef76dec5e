// Indices that lie on an accelerator are checked where they are used: a host that looked at them first would have to
// wait. A kernel reads the nearest place that exists instead of one outside, and notes the first such index in a word
// of its device, which the next synchronisation or copy to the host turns into an Error (backend.cu).
#pragma once

#include <heed/engine/cuda/kernel.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// The first index outside its range.
struct IndexFault {
  unsigned noted;  // 1 once there is one
  int axis;        // -1: none to name
  char const* op;  // a literal of the host's, never read on the device
  int64_t index, low, size;
};

/// A kernel's argument: an index i is right if low <= i < size, size > 0; low is 0, or -size where indices count from
/// the end, too.
struct IndexRange {
  IndexFault* fault;  // null: nowhere to note it
  char const* op;
  int64_t low, size;
  int axis;

  /// From 0 to size - 1.
  __device__ int64_t place(int64_t i) const {
    if (i < low || i >= size) {
      if (fault && atomicCAS(&fault->noted, 0u, 1u) == 0) {
        fault->axis = axis, fault->op = op;
        fault->index = i, fault->low = low, fault->size = size;
      }
      i = i < low ? low : size - 1;
    }
    return i < 0 ? i + size : i;
  }
};

/// Where this thread's kernels note it, and on which devices they may have since this thread looked.
struct IndexWatch {
  IndexFault* fault = nullptr;  // of the device in use
  int device = 0;
  uint64_t unread = 0;  // bit: device % 64
  uint64_t bit() const { return uint64_t{1} << device % 64; }
};
inline IndexWatch& index_watch() {
  static thread_local IndexWatch watch;
  return watch;
}

/// For a kernel on the device in use; `op` is a literal.
inline IndexRange index_range(char const* op, int64_t low, int64_t size, int axis = -1) {
  IndexWatch& watch = index_watch();
  watch.unread |= watch.bit();
  return {watch.fault, op, low, size, axis};
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
