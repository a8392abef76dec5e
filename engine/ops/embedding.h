// Kernels of table lookup.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// table, dtable: [table_rows, n]; index: [count], every one in [0, table_rows), which an accelerator's kernels check;
/// out, g: [count, n].
template <class T>
struct EmbeddingKernelsOf {
  /// out[i] = table[index[i]]
  void (*forward)(T const* table, int64_t const* index, T* out, int64_t count, int64_t table_rows, int64_t n);
  /// dtable[r] = Σ over i with index[i] = r of g[i], in order of i; row padding_index (-1: none) gets 0.
  void (*backward)(T const* g, int64_t const* index, int64_t padding_index, T* dtable, int64_t count,
                   int64_t table_rows, int64_t n);
};

struct EmbeddingKernels : PerType<EmbeddingKernelsOf> {};

}  // namespace heed

HEED_KERNELS(EmbeddingKernels, embedding_kernels)
