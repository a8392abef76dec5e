#include <dlfcn.h>
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <mutex>

namespace heed {
namespace {

constexpr std::array names{"cpu", "cuda", "emu"};
std::string_view name_of(Device::Kind kind) { return names[size_t(kind)]; }

std::mutex lock;
std::array<Backend*, names.size()> backends{};

/// CUDA's part of the library is a module of its own, so that one binary runs with and without a driver.
struct CudaModule {
  std::string why;
  CudaModule() {
    std::string const name = "libheed_cuda.so";
    std::error_code ignored;
    auto const folder = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
    std::vector<std::string> paths{folder / name, folder / "../lib" / name, name};
    char const* const given = std::getenv("HEED_CUDA_MODULE");
    if (given && *given) paths = {given};
    void* module = nullptr;
    for (std::string const& path : paths)
      if (!module) module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!module) {
      why = fmt::format("heed's CUDA module is not here ({})", dlerror());
      return;
    }
    auto* const find = reinterpret_cast<Backend* (*)()>(dlsym(module, "heed_cuda_backend"));
    if (find)
      register_backend(Device::Kind::cuda, *find());
    else
      why = "the file loaded as heed's CUDA module is none";
  }
};
CudaModule const& cuda_module() {
  static CudaModule const module;
  return module;
}

Backend* find(Device::Kind kind) {
  if (kind == Device::Kind::cuda) cuda_module();
  std::lock_guard const guard(lock);
  return backends[size_t(kind)];
}

std::string why_none(Device::Kind kind, Backend* found) {
  if (found) return found->why_none();
  return kind == Device::Kind::cuda ? cuda_module().why : "it exists in heed's tests only";
}

}  // namespace

std::string to_string(Device device) {
  return device.is_cpu() ? "cpu" : fmt::format("{}:{}", name_of(device.kind), device.index);
}

Device parse_device(std::string_view text) {
  size_t const colon = text.find(':');
  std::string_view const kind = text.substr(0, colon);
  for (size_t k = 0; k < names.size(); ++k) {
    if (kind != names[k]) continue;
    Device device{Device::Kind(k), 0};
    if (colon == text.npos) return device;
    std::string_view const digits = text.substr(colon + 1);
    auto const [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), device.index);
    if (error == std::errc{} && end == digits.data() + digits.size() && !digits.empty() && k > 0) return device;
  }
  fail("parse_device", {fmt::format("expected cpu, cuda or cuda:1, got '{}'", text), "pass one of them"});
}

void register_backend(Device::Kind kind, Backend& backend) {
  std::lock_guard const guard(lock);
  backends[size_t(kind)] = &backend;
}

Backend& backend(Device device) {
  Backend* const found = find(device.kind);
  int const count = found ? found->count() : 0;
  check(device.index < count, "device", [&] {
    return Complaint{count == 0 ? fmt::format("there is no {}: {}", to_string(device), why_none(device.kind, found))
                                : fmt::format("there is no {}, only {} of its kind", to_string(device), count),
                     "heed::devices() says what there is; the cpu always is"};
  });
  return *found;
}

std::vector<DeviceEntry> devices() {
  std::vector<DeviceEntry> all(1);
  all[0].name = name(isa());
  for (Device::Kind const kind : {Device::Kind::cuda, Device::Kind::emu}) {
    Backend* const found = find(kind);
    int const count = found ? found->count() : 0;
    for (int i = 0; i < count; ++i) all.push_back(found->entry(i));
    if (count == 0 && kind == Device::Kind::cuda) {
      DeviceEntry& none = all.emplace_back();
      none.device = cuda();
      none.available = false;
      none.why = why_none(kind, found);
    }
  }
  return all;
}

void const* detail::find_kernels(Device device, char const* table, std::string_view op) {
  Backend& on = backend(device);
  void const* const found = on.kernels(table);
  check(found, op, [&] {
    return Complaint{fmt::format("there are no kernels for {} yet", to_string(device)),
                     "move the operands to the cpu with .to(cpu)"};
  });
  on.use(device.index);
  return found;
}

}  // namespace heed
