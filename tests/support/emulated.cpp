#include "emulated.h"

#include <heed/engine/backend.h>

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

}  // namespace heed::test
