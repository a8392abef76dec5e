// An accelerator's kernels of connectionist temporal classification: the sums over paths of ctc.cpp.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// Sample n has lengths[n] symbols from targets[starts[n]] on and inputs[n] of the T steps; its path has
/// 2·lengths[n] + 1 ≤ states states, symbols with blanks between and around. Symbols outside the classes go into the
/// device's word. log_p, dx: [T, N, C]; alpha, gamma: [N, T, states].
struct CtcBatch {
  int64_t const *targets, *starts, *lengths, *inputs;
  int64_t steps, samples, classes, states, blank;
};

template <class T>
struct CtcKernelsOf {
  /// alpha[n, t, s] = log Σ of the paths that are in state s at step t; loss [N].
  void (*forward)(CtcBatch const&, T const* log_p, T* alpha, T* loss);
  /// gamma[n, t, s] = exp(alpha + beta + loss), then dx = −g_n·Σ over the states of a symbol; dx is zero before, and
  /// beta [N, 2, states] is scratch.
  void (*backward)(CtcBatch const&, T const* log_p, T const* alpha, T const* loss, T const* g, T* beta, T* gamma,
                   T* dx);
};

struct CtcKernels : PerType<CtcKernelsOf> {};

inline char const* kernels_name(CtcKernels const*) { return "ctc_kernels"; }

}  // namespace heed
