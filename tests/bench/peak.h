// What the processor can do at most: the floor that timings are compared with.
#pragma once

#include <heed/engine/isa.h>

namespace heed::bench {

/// f32 GFLOP/s of `threads` threads that do nothing but multiply and add in registers, at the width of `level`; a fused
/// multiply-add counts as two. The best of a few short runs, measured once.
double peak_gflops(Isa level, int threads);

/// GB/s at which `threads` threads go through `bytes` again and again, wherever so many bytes lie: reading, or copying
/// one half into the other, with stores into the caches or past them, whichever is the fastest. Measured once a power
/// of two.
double peak_gbytes(double bytes, int threads);

}  // namespace heed::bench
