// An accelerator that is emulated on the processor: CUDA's kernels, read by the C++ compiler.
#pragma once

#include <heed/engine/device.h>

#include <string>

namespace heed::test {

/// Its first device; registered with the engine at the first call.
Device emulated_device();
/// What the emulator has found wrong with kernels since the last call; "" for nothing.
std::string emulator_complaints();

}  // namespace heed::test
