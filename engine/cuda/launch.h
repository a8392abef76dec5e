// Launching on the calling thread's stream, with errors that name kernel and geometry, and scratch memory for a
// kernel's partial results.
#pragma once

#include <heed/engine/cuda/rt.h>
#include <heed/engine/error.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

struct Unit;  // unit.h: the device that this thread's kernels run on
Unit& current_unit();
rt::Stream current_stream();

[[noreturn]] void throw_device_error(rt::Status const& status, char const* what);
/// Throws unless `status` is good; `what` names the call. The message has the last launches: the fault may be theirs.
inline void check_device(rt::Status const& status, char const* what) {
  if (!status) throw_device_error(status, what);
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// A grid of `count` blocks in a row.
rt::Dim in_a_row(int64_t count);

/// Remembers the launch, or throws where it failed; with HEED_CUDA_SYNC=1 it waits for the kernel's end.
void after_launch(rt::Launch const& launch, rt::Status const& status);

/// kernel<<<grid, block, shared, current stream>>>(arguments…)
template <class... P, class... A>
void launch(void (*kernel)(P...), char const* name, rt::Dim grid, rt::Dim block, size_t shared, A const&... arguments) {
  rt::Launch const how{name, grid, block, shared, current_stream()};
  after_launch(how, rt::launch(kernel, how, arguments...));
}

void* take_scratch(Unit& unit, size_t bytes);
void give_scratch(Unit& unit, void* block, size_t bytes) noexcept;

/// Uninitialised device memory for the kernels queued on the current stream meanwhile.
template <class T>
class DeviceScratch {
 public:
  explicit DeviceScratch(int64_t n) : unit_(current_unit()), bytes_(size_t(n) * sizeof(T)) {
    if (n > 0) data_ = take_scratch(unit_, bytes_);
  }
  ~DeviceScratch() {
    if (data_) give_scratch(unit_, data_, bytes_);
  }
  DeviceScratch(DeviceScratch const&) = delete;
  DeviceScratch& operator=(DeviceScratch const&) = delete;
  T* data() const { return static_cast<T*>(data_); }

 private:
  Unit& unit_;
  size_t bytes_;
  void* data_ = nullptr;
};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
