// Kernels of recorded programs on an accelerator.
#pragma once

#include <heed/engine/ops/program.h>

namespace heed {

constexpr int most_program_operands = 32;  // those of derivatives included

/// The axes of a broadcast of a program's inputs, outermost first, joined where all step evenly; strides in elements.
struct ProgramWalk {
  static constexpr int most_axes = 8;
  int rank = 0;
  int64_t numel = 0;
  int64_t shape[most_axes] = {}, stride[most_program_operands][most_axes] = {};
};

template <class T>
struct DeviceProgramTable {
  /// The outputs, contiguous; without loads.
  void (*run)(Program const& program, ProgramWalk const& walk, T const* const* inputs, T* const* outputs);
};
struct DeviceProgramKernels : PerType<DeviceProgramTable> {};

inline char const* kernels_name(DeviceProgramKernels const*) { return "program_kernels"; }

}  // namespace heed
