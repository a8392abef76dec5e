// An accelerator that is emulated on the processor: CUDA's kernels, read by the C++ compiler.
#pragma once

#include <heed/engine/device.h>

namespace heed::test {

/// Its first device; registered with the engine at the first call.
Device emulated_device();

}  // namespace heed::test
