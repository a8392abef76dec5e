// What the engine asks of an accelerator: memory, copies in the order of its kernels, and tables of kernels.
#pragma once

#include <heed/engine/device.h>
#include <heed/engine/isa.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace heed {

/// The accelerators of one kind. Each device runs the work of a thread in the order in which it was given (a stream).
/// Failures throw heed::Error; those of earlier asynchronous work surface in any later call.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual int count() = 0;
  /// Why count() is 0.
  virtual std::string why_none() = 0;
  virtual DeviceEntry entry(int index) = 0;

  /// At least `bytes`, aligned to 256; null where memory is exhausted, also after cached blocks were given back.
  virtual void* allocate(int index, size_t bytes) = 0;
  /// The same, filled with the host's bytes, which are read before the call returns. They are copied beside the work
  /// that was given before, and are there for what is given after.
  virtual void* copy_of(int index, void const* host, size_t bytes) = 0;
  /// Work that was given before may still use the block.
  virtual void release(int index, void* block, size_t bytes) noexcept = 0;
  virtual void release_cached() noexcept = 0;

  /// Waits until the bytes are there.
  virtual void copy_out(int index, void* host, void const* from, size_t bytes) = 0;
  virtual void copy_within(int index, void* to, void const* from, size_t bytes) = 0;
  virtual void synchronize(int index) = 0;

  /// Makes `index` the device that this thread's kernels run on.
  virtual void use(int index) = 0;
  /// The table called `name` (the second name in HEED_KERNELS); null where this kind has none.
  virtual void const* kernels(std::string_view name) = 0;
};

/// `backend` lives as long as the program. A second one of a kind replaces the first.
void register_backend(Device::Kind kind, Backend& backend);
/// An Error that says why where there is no such device.
Backend& backend(Device device);

namespace detail {
void const* find_kernels(Device device, char const* table, std::string_view op);
}  // namespace detail

/// The kernels of `op` for an accelerator; an Error naming it where that has none. They run on `device` until the next
/// call for another one.
template <class Table>
Table const& device_kernels(Device device, std::string_view op) {
  return *static_cast<Table const*>(detail::find_kernels(device, kernels_name(static_cast<Table const*>(nullptr)), op));
}

/// The kernels of `op` for tensors on `device`.
template <class Table>
Table const& kernels(Device device, std::string_view op) {
  return device.is_cpu() ? kernels<Table>() : device_kernels<Table>(device, op);
}

}  // namespace heed
