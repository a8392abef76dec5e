// The Backend of this level: devices, memory kept for reuse, copies, and the list of kernel tables.
#include <heed/engine/backend.h>
#include <heed/engine/cuda/index_check.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/cuda/unit.h>

#include <cstdio>
#include <deque>
#include <mutex>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

void const* device_table(std::string_view name);  // ops/device_tables.cu

namespace {

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
    units_.resize(size_t(count));
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
    return unit.retried([&] { return unit.blocks.take(bytes); });
  }
  void* copy_of(int index, void const* host, size_t bytes) override {
    Unit& unit = used(index);
    void* const block = unit.retried([&] { return unit.uploaded.take(bytes, unit.uploads); });
    if (!block) return nullptr;
    unit.staging.to_device(block, host, bytes, unit.uploads);
    unit.uploaded.pass(block, unit.uploads, unit.compute);
    return block;
  }
  void release(int index, void* block, size_t bytes) noexcept override {
    Unit& unit = units_[size_t(index)];
    if (!unit.uploaded.give(block, bytes, unit.compute)) unit.blocks.give(block, bytes);
  }
  void release_cached() noexcept override {
    for (size_t index = 0; index < units_.size(); ++index) {
      (void)rt::set_device(int(index));
      units_[index].flush();
    }
  }

  void copy_out(int index, void* host, void const* from, size_t bytes) override {
    Unit& unit = used(index);
    unit.staging.to_host(host, from, bytes, unit.compute);
    check_indices(unit);
  }
  void copy_within(int index, void* to, void const* from, size_t bytes) override {
    check_device(rt::copy_on_device(to, from, bytes, used(index).compute), "copy on the device");
  }
  void synchronize(int index) override {
    Unit& unit = used(index);
    check_device(rt::synchronize(unit.compute), "synchronize");
    check_indices(unit);
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
      std::lock_guard const guard(lock_);
      if (!unit.compute) check_device(rt::create_stream(unit.compute), "stream");
      if (!unit.uploads) check_device(rt::create_stream(unit.uploads), "stream");
      if (!unit.fault) {
        unit.fault = static_cast<IndexFault*>(unit.take(sizeof(IndexFault)));
        check_device(rt::fill_bytes(unit.fault, 0, sizeof(IndexFault), unit.compute), "stream");
      }
    }
    set_current_unit(unit);
    index_watch().fault = unit.fault;
    index_watch().device = index;
    return unit;
  }

  /// Throws if a kernel that this thread has waited for met a wrong index.
  static void check_indices(Unit& unit) {
    IndexWatch& watch = index_watch();
    if (!(watch.unread & watch.bit())) return;
    watch.unread &= ~watch.bit();
    IndexFault fault{};
    unit.staging.to_host(&fault, unit.fault, sizeof fault, unit.compute);
    if (!fault.noted) return;
    check_device(rt::fill_bytes(unit.fault, 0, sizeof fault, unit.compute), "synchronize");
    report(fault);
  }

  rt::Status none_;
  std::mutex lock_;  // of making streams
  std::deque<Unit> units_;
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
