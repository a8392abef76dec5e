// In place of the emulated accelerator where HEED_EMULATED_DEVICE is off.
#include <heed/engine/backend.h>
#include <heed/engine/error.h>

namespace heed {
inline namespace emu {
Backend& device_backend();
Backend& device_backend() {
  fail("emulated device", {"this build has none", "configure with -DHEED_EMULATED_DEVICE=ON"});
}
}  // namespace emu
}  // namespace heed
