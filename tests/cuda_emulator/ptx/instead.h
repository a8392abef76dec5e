// The emulator's kernels as nvcc's PTX: whatever launches kernels on the emulated device then runs what nvcc made of
// them, with its tests unchanged.
#pragma once

#include <string>

namespace ptx {

/// From now on a launched kernel that one of the folder's *.ptx holds is interpreted; others run as before. What ran is
/// said at the program's end.
void run_kernels_of(std::string const& folder);

}  // namespace ptx
