// Kernels of recorded programs on an accelerator.
#pragma once

#include <heed/engine/ops/program.h>
#include <heed/engine/ops/strided_walk.h>

namespace heed {

constexpr int most_program_operands = 32;  // those of derivatives included

using ProgramWalk = StridedWalk<most_program_operands>;

template <class T>
struct DeviceProgramTable {
  /// The outputs, contiguous; without loads.
  void (*run)(Program const& program, ProgramWalk const& walk, T const* const* inputs, T* const* outputs);
};
struct DeviceProgramKernels : PerType<DeviceProgramTable> {};

inline char const* kernels_name(DeviceProgramKernels const*) { return "program_kernels"; }

}  // namespace heed
