// The Backend of this level: devices, memory kept for reuse, copies, and the list of kernel tables.
#include <heed/engine/backend.h>
#include <heed/engine/cuda/index_check.h>
#include <heed/engine/cuda/launch.h>
#if !defined(__CUDACC__)
#include <control.h>
#endif

#include <bit>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

void const* device_table(std::string_view name);  // ops/device_tables.cu

namespace {

/// Whether each tensor gets a block of its own and of its exact size: where the emulator looks at every access, it then
/// sees where tensors end, when they are freed, and what of them was never written.
bool exact_blocks() {
#if defined(__CUDACC__)
  return false;
#else
  return emu::settings().exact_blocks;
#endif
}

/// Sizes of blocks: four steps per power of two from 512 bytes on, so that rounding wastes at most a fifth and a block
/// fits the next tensor of about its size.
size_t block_size(size_t bytes) {
  if (exact_blocks()) return bytes;
  if (bytes <= 512) return 512;
  size_t const step = std::bit_floor(bytes - 1) / 4;
  return (bytes + step - 1) / step * step;
}

/// One device: its stream, on which all its work is queued in order, so that a released block can be given away at
/// once.
struct Unit {
  rt::Stream stream = nullptr;
  IndexFault* fault = nullptr;  // on the device
  std::mutex lock;
  std::map<size_t, std::vector<void*>> kept;
};

[[noreturn]] void report(IndexFault const& fault) {
  char where[48] = "", problem[200], remedy[80];
  if (fault.axis >= 0) std::snprintf(where, sizeof where, "axis %d of ", fault.axis);
  std::snprintf(
      problem, sizeof problem,
      "a kernel that was queued earlier met index %lld, which is outside %ssize %lld; what it gave is not valid",
      static_cast<long long>(fault.index), where, static_cast<long long>(fault.size));
  std::snprintf(remedy, sizeof remedy, "use %lld to %lld", static_cast<long long>(fault.low),
                static_cast<long long>(fault.size - 1));
  fail(fault.op, {problem, remedy});
}

class DeviceBackend final : public Backend {
 public:
  DeviceBackend() {
    int count = 0;
    none_ = rt::device_count(count);
    units_ = std::vector<Unit>(size_t(count));
  }

  int count() override { return int(units_.size()); }
  std::string why_none() override { return none_.text; }
  DeviceEntry entry(int index) override {
    rt::DeviceFacts facts{};
    check_device(rt::facts(index, facts), "devices");
    DeviceEntry to;
    to.device = {kind, uint8_t(index)};
    to.name = facts.name;
    to.memory = facts.memory;
    return to;
  }

  void* allocate(int index, size_t bytes) override {
    Unit& unit = used(index);
    size_t const size = block_size(bytes);
    {
      std::lock_guard const guard(unit.lock);
      if (auto const found = unit.kept.find(size); found != unit.kept.end() && !found->second.empty()) {
        void* const block = found->second.back();
        found->second.pop_back();
        return block;
      }
    }
    void* block = nullptr;
    rt::Status status = rt::allocate(block, size);
    if (status.kind == rt::Kind::out_of_memory) {
      release_cached();
      use(index);
      status = rt::allocate(block, size);
    }
    if (status.kind == rt::Kind::out_of_memory) return nullptr;
    check_device(status, "allocate");
    return block;
  }

  void release(int index, void* block, size_t bytes) noexcept override {
    Unit& unit = units_[size_t(index)];
    if (exact_blocks()) {
      (void)rt::release(block);  // when the kernels that use it are over
      return;
    }
    std::lock_guard const guard(unit.lock);
    unit.kept[block_size(bytes)].push_back(block);
  }

  void release_cached() noexcept override {
    for (size_t index = 0; index < units_.size(); ++index) {
      Unit& unit = units_[index];
      std::lock_guard const guard(unit.lock);
      (void)rt::set_device(int(index));
      if (unit.stream) (void)rt::synchronize(unit.stream);  // kernels may still use them
      for (auto& [size, blocks] : unit.kept)
        for (void* const block : blocks) (void)rt::release(block);
      unit.kept.clear();
    }
  }

  void copy_in(int index, void* to, void const* host, size_t bytes) override {
    check_device(rt::copy_to_device(to, host, bytes, used(index).stream), "copy to the device");
  }
  void copy_out(int index, void* host, void const* from, size_t bytes) override {
    check_device(rt::copy_to_host(host, from, bytes, used(index).stream), "copy to the host");
    synchronize(index);
  }
  void copy_within(int index, void* to, void const* from, size_t bytes) override {
    check_device(rt::copy_on_device(to, from, bytes, used(index).stream), "copy on the device");
  }
  void synchronize(int index) override {
    Unit& unit = used(index);
    IndexWatch& watch = index_watch();
    IndexFault fault{};
    if (watch.unread & watch.bit())
      check_device(rt::copy_to_host(&fault, unit.fault, sizeof fault, unit.stream), "synchronize");
    watch.unread &= ~watch.bit();
    check_device(rt::synchronize(unit.stream), "synchronize");
    if (!fault.noted) return;
    check_device(rt::fill_bytes(unit.fault, 0, sizeof fault, unit.stream), "synchronize");
    report(fault);
  }

  void use(int index) override { used(index); }

  void const* kernels(std::string_view name) override { return device_table(name); }

 private:
#if defined(__CUDACC__)
  static constexpr Device::Kind kind = Device::Kind::cuda;
#else
  static constexpr Device::Kind kind = Device::Kind::emu;
#endif

  /// The device, from now on this thread's.
  Unit& used(int index) {
    Unit& unit = units_[size_t(index)];
    check_device(rt::set_device(index), "device");
    {
      std::lock_guard const guard(unit.lock);
      if (!unit.stream) {
        check_device(rt::create_stream(unit.stream), "stream");
        void* fault = nullptr;
        check_device(rt::allocate(fault, sizeof(IndexFault)), "stream");
        check_device(rt::fill_bytes(fault, 0, sizeof(IndexFault), unit.stream), "stream");
        unit.fault = static_cast<IndexFault*>(fault);
      }
    }
    thread_stream() = unit.stream;
    index_watch().fault = unit.fault;
    index_watch().device = index;
    return unit;
  }

  rt::Status none_;
  std::vector<Unit> units_;
};

}  // namespace

/// Lives as long as the program: tensors may outlive static objects.
Backend& device_backend() {
  static auto& backend = *new DeviceBackend;
  return backend;
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed

#if defined(__CUDACC__)
extern "C" __attribute__((visibility("default"))) heed::Backend* heed_cuda_backend() { return &heed::device_backend(); }
#endif
