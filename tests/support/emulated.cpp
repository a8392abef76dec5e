#include "emulated.h"

#include <heed/engine/backend.h>
#include <heed/tests/cuda_emulator/control.h>

namespace heed {
inline namespace emu {
Backend& device_backend();
}
}  // namespace heed

namespace heed::test {

Device emulated_device() {
  static bool const registered = (register_backend(Device::Kind::emu, device_backend()), true);
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
