// Where a tensor's bytes live.
#pragma once

#include <cstdint>

namespace heed {

/// The processor's memory. Operations branch on it visibly where another device has kernels of its own.
enum class Device : uint8_t { cpu };

}  // namespace heed
