// Counted buffers and the caching allocator under them.
#pragma once

#include <heed/engine/device.h>
#include <heed/engine/ref.h>

#include <cstddef>
#include <cstdint>

namespace heed {

/// A block of bytes, aligned to 64, shared by every view of it.
class Storage : public Counted {
 public:
  /// Uninitialised bytes (NaN-filled in poison mode); an Error where memory is exhausted.
  static Ref<Storage> allocate(size_t bytes);
  /// The same on an accelerator.
  static Ref<Storage> allocate(size_t bytes, Device device);
  /// There, filled with the host's bytes.
  static Ref<Storage> copy_of(void const* host, size_t bytes, Device device);

  /// On its device.
  std::byte* data() const noexcept { return data_; }
  size_t bytes() const noexcept { return bytes_; }
  Device device() const noexcept { return device_; }
  /// Counts in-place changes: what backward saved is compared with it.
  uint32_t version() const noexcept { return version_; }
  void bump_version() noexcept {
    if (version_ != unversioned) ++version_;
  }
  /// The version of a storage made in inference mode (tape.h): it counts nothing, and cannot be saved for backward.
  static constexpr uint32_t unversioned = ~uint32_t{0};
  void dispose() noexcept;

 private:
  Storage(std::byte* data, size_t bytes, bool guarded, Device device = cpu);
  static Ref<Storage> of_device(void* block, size_t bytes, Device device);
  std::byte* data_;
  size_t bytes_;
  uint32_t version_;
  bool guarded_;
  Device device_;
};

namespace detail {
extern constinit thread_local bool inference_on;
}  // namespace detail

/// Blocks for nodes and handles, from per-thread lists by size class.
void* pool_allocate(size_t bytes);
void pool_release(void* block, size_t bytes) noexcept;

struct MemoryStatistics {
  size_t in_use;    // bytes of live storages
  size_t peak;      // largest in_use since the last reset_peak_memory()
  size_t cached;    // bytes kept for reuse
  size_t acquired;  // bytes ever asked from the system
};
MemoryStatistics memory_statistics();
void reset_peak_memory();
/// Gives every cached block of the calling thread and of the shared cache back to the system.
void release_cached_memory();

namespace detail {
/// Bytes of the storages that this thread has ever allocated.
size_t allocated_by_thread() noexcept;
/// The largest bytes in use since the last call: a peak that reset_peak_memory() does not touch.
size_t take_peak_window() noexcept;
}  // namespace detail

/// Poison mode (also HEED_POISON=1): fresh storages are filled with NaN bytes and guarded at both ends.
void set_poison(bool on);
/// Writes outside a guarded storage that were found when it was released.
size_t guard_violations();

}  // namespace heed
