// Where a tensor's bytes live, and what else there is here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace heed {

/// The processor's memory, or a numbered accelerator: one of CUDA's, or one that the tests emulate.
struct Device {
  enum class Kind : uint8_t { cpu, cuda, emu };
  Kind kind = Kind::cpu;
  uint8_t index = 0;

  constexpr bool is_cpu() const { return kind == Kind::cpu; }
  friend constexpr bool operator==(Device, Device) = default;
};

inline constexpr Device cpu{};
constexpr Device cuda(int index = 0) { return {Device::Kind::cuda, uint8_t(index)}; }

/// "cpu", "cuda:1"
std::string to_string(Device device);
/// Of "cpu", "cuda" (the first) or "cuda:1"; an Error for other texts.
Device parse_device(std::string_view text);

struct DeviceEntry {
  Device device;
  std::string name;   // what its maker calls it
  size_t memory = 0;  // bytes; 0: unknown
  bool available = true;
  std::string why;  // where it is not available
};
/// The processor, and every accelerator that there is; of a kind without any, one entry that says why.
std::vector<DeviceEntry> devices();

}  // namespace heed
