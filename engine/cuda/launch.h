// Launching on the calling thread's stream, with errors that name kernel and geometry, and scratch memory for a
// kernel's partial results.
#pragma once

#include <heed/engine/cuda/rt.h>
#include <heed/engine/error.h>

#include <cstdio>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// Where this thread's kernels are queued; null is the device's default stream.
inline rt::Stream& thread_stream() {
  static thread_local rt::Stream stream = nullptr;
  return stream;
}
inline rt::Stream current_stream() { return thread_stream(); }

/// Throws unless `status` is good; `what` names the call.
inline void check_device(rt::Status const& status, char const* what) {
  check(bool(status), what, [&] {
    char problem[200];
    std::snprintf(problem, sizeof problem, "the device answered \"%s\" (error %d)", status.text, status.code);
    return Complaint{problem, status.kind == rt::Kind::out_of_memory
                                  ? "use smaller batches, or free tensors first"
                                  : "set HEED_CUDA_SYNC=1 to learn which kernel failed first"};
  });
}

/// A grid of `count` blocks in a row.
inline rt::Dim in_a_row(int64_t count) {
  check(count <= 0x7fffffff, "launch", [&] {
    char problem[80];
    std::snprintf(problem, sizeof problem, "%lld blocks, and a grid takes 2^31 - 1", static_cast<long long>(count));
    return Complaint{problem, "split the tensor"};
  });
  return {unsigned(count), 1, 1};
}

/// kernel<<<grid, block, shared, current stream>>>(arguments…)
template <class... P, class... A>
void launch(void (*kernel)(P...), char const* name, rt::Dim grid, rt::Dim block, size_t shared, A const&... arguments) {
  rt::Launch const how{name, grid, block, shared, current_stream()};
  rt::Status const status = rt::launch(kernel, how, arguments...);
  check(bool(status), name, [&] {
    char problem[240];
    std::snprintf(
        problem, sizeof problem,
        "launch of %u x %u x %u blocks of %u x %u x %u threads with %zu bytes of shared memory failed: \"%s\" "
        "(error %d)",
        grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, status.text, status.code);
    return Complaint{problem, "set HEED_CUDA_SYNC=1 to learn whether an earlier kernel failed"};
  });
}

/// Uninitialised device memory for the duration of the kernels queued on the current stream meanwhile.
template <class T>
class DeviceScratch {
 public:
  explicit DeviceScratch(int64_t n) : stream_(current_stream()) {
    if (n > 0) check_device(rt::allocate(data_, size_t(n) * sizeof(T)), "scratch memory");
  }
  ~DeviceScratch() {
    if (!data_) return;
    (void)rt::synchronize(stream_);  // a failure surfaces again in the next call that checks
    (void)rt::release(data_);
  }
  DeviceScratch(DeviceScratch const&) = delete;
  DeviceScratch& operator=(DeviceScratch const&) = delete;
  T* data() const { return static_cast<T*>(data_); }

 private:
  void* data_ = nullptr;
  rt::Stream stream_;
};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
