// Kernels of the cross-entropy between rows of logits and class indices.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// logits, dlogits: [rows, n] contiguous; targets, loss, lse, g: [rows]. Every target is in [0, n) or ignore_index,
/// which an accelerator's kernels check.
template <class T>
struct CrossEntropyKernelsOf {
  /// lse = log Σ_j exp(x_j); loss = (1-s)·(lse - x_target) + s/n·Σ_j (lse - x_j), s the label smoothing; an ignored
  /// row has loss 0 (its lse is written all the same).
  void (*forward)(T const* logits, int64_t const* targets, int64_t ignore_index, double smoothing, T* loss, T* lse,
                  int64_t rows, int64_t n);
  /// dlogits_j = (exp(x_j - lse) - (1-s)·[j = target] - s/n)·g; 0 in ignored rows. dlogits may be logits.
  void (*backward)(T const* logits, int64_t const* targets, int64_t ignore_index, double smoothing, T const* lse,
                   T const* g, T* dlogits, int64_t rows, int64_t n);
  /// *counted = how many targets are not ignore_index
  void (*count)(int64_t const* targets, int64_t ignore_index, int64_t rows, T* counted);
};

struct CrossEntropyKernels : PerType<CrossEntropyKernelsOf> {};

}  // namespace heed

HEED_KERNELS(CrossEntropyKernels, cross_entropy_kernels)
