// Kernels of an accelerator that read and write by index. The processor's work on whole tensors (places.cpp, along.cpp,
// index.cpp).
#pragma once

#include <heed/engine/dtype.h>
#include <heed/engine/ops/strided_walk.h>

#include <cstdint>

namespace heed {

/// An index tensor's part in a place: steps[a] of it along axis a of the space, each index worth `factor` elements. Its
/// indices are from `low` (0, or -size: counted from the end) to size - 1, along `axis` of what is indexed.
struct IndexPart {
  int64_t const* index;
  int64_t steps[StridedWalk<1>::most_axes];
  int64_t factor, low, size;
  int axis;
};

/// Places of all positions of `space` in row-major order: base + Σ position·step + Σ index·factor. size of parts > 0.
struct IndexSpace {
  static constexpr int most_parts = 8;
  StridedWalk<1> space;
  int64_t base;
  int parts;
  IndexPart part[most_parts] = {};
};

/// Block i is elements starts[i] … starts[i] + block - 1, all of them in [0, limit). Blocks are the same or share no
/// element; `distinct`: no two are the same.
struct IndexBlocks {
  int64_t const* starts;
  int64_t n, block, limit;
  bool distinct;
};

/// What becomes of an element and the values that are given for its place.
enum class AtPlace : uint8_t { last, sum, product, largest, smallest };

struct DeviceIndexKernels {
  void (*starts)(char const* op, IndexSpace const& space, int64_t* to);
  /// y[i] = x[place i], each place from one part. size: bytes of an element.
  void (*pick)(char const* op, IndexSpace const& space, void const* x, void* y, int size);
  /// y[i, j] = x[starts[i] + j]
  void (*read)(IndexBlocks const& blocks, void const* x, void* y, int size);
  /// y[starts[i] + j] joined with values[i, j], in the order of the i; with `one`, values[0] for all.
  void (*write)(AtPlace how, Dtype dtype, IndexBlocks const& blocks, void const* values, bool one, void* y);
  /// Whether block i is the last of those at its place.
  void (*is_last)(IndexBlocks const& blocks, bool* last);
  /// How many tiles x [n] has; before[t]: how many elements other than 0 come before tile t, before[tiles]: there are.
  int64_t (*tiles)(int64_t n);
  void (*count)(void const* x, Dtype dtype, int64_t n, int64_t* before);
  /// Their places, in order, to [before[tiles]].
  void (*positions)(void const* x, Dtype dtype, int64_t n, int64_t const* before, int64_t* to);
  /// to [n, rank]: the coordinates of row-major places in a tensor of `shape`.
  void (*coordinates)(int64_t const* places, int64_t n, int64_t const* shape, int rank, int64_t* to);
};

inline char const* kernels_name(DeviceIndexKernels const*) { return "index_kernels"; }

}  // namespace heed
