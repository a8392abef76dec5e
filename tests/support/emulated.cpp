#include "emulated.h"

#include <heed/engine/backend.h>
#include <heed/tests/cuda_emulator/control.h>
#include <heed/tests/cuda_emulator/ptx/instead.h>

#include <cstdlib>

namespace heed {
inline namespace emu {
Backend& device_backend();
}
}  // namespace heed

namespace heed::test {

Device emulated_device() {
  // HEED_TEST_DEVICE: a real one in its place (tests/gpu.sh).
  if (char const* const real = std::getenv("HEED_TEST_DEVICE"); real && *real) return parse_device(real);
  static bool const registered = [] {
    register_backend(Device::Kind::emu, device_backend());
    // HEED_EMU_PTX: a folder with nvcc's PTX of the kernels, which then runs in their place.
    if (char const* const folder = std::getenv("HEED_EMU_PTX"); folder && *folder) ptx::run_kernels_of(folder);
    return true;
  }();
  (void)registered;
  return {Device::Kind::emu, 0};
}

std::string emulator_complaints() {
  static size_t told = 0;
  auto const& all = emu::reports();
  if (all.size() < told) told = 0;
  std::string text;
  for (; told < all.size(); ++told) text += all[told] + "\n";
  return text;
}

}  // namespace heed::test
