// What the processor can do at most: the floor that timings are compared with.
#pragma once

#include <heed/engine/isa.h>

namespace heed::bench {

/// f32 GFLOP/s of `threads` threads that do nothing but multiply and add in registers, at the width of `level`; a fused
/// multiply-add counts as two. The best of a few short runs.
double peak_gflops(Isa level, int threads);

}  // namespace heed::bench
