// Elements by their place: what every indexing operation is made of.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/ops/index.h>
#include <heed/engine/parallel.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace heed::detail {

/// Blocks of elements: block i is starts[i], starts[i] + 1, … in memory. Blocks are the same or share no element.
struct Places {
  Tensor starts;  // i64 [n], from the address of a tensor's element [0, …, 0]; on that tensor's device
  int64_t block = 1;
  bool distinct = false;  // known that no two blocks are the same
};

/// An index tensor's part in a place: steps[a] of it along axis a of the space, each index worth `factor` elements;
/// negative indices count from `size`. The processor's are checked before; elsewhere kernels do it: `negative` says
/// whether they may be, `axis` what they index.
struct Table {
  Tensor index;  // i64
  Strides steps;
  int64_t factor, size;
  int axis;
  bool negative;
};

/// For every position of `space`, in row-major order: base + Σ position·step + Σ index·factor. On the tables' device.
Tensor starts_of(char const* op, Shape const& space, Strides const& steps, int64_t base,
                 std::vector<Table> const& tables, Device device);
/// The same, as a kernel's argument.
IndexSpace index_space(char const* op, Shape const& space, Strides const& steps, int64_t base,
                       std::vector<Table> const& tables);

/// Places in a tensor, given its strides.
using Where = std::function<Places(Strides const&)>;

/// A tensor of `shape` whose elements are x's at the places, in order.
Tensor pick(char const* op, Tensor const& x, Shape const& shape, Where const& where);
/// The adjoint of pick: zeros of `shape` with g's elements added at the places of a contiguous tensor.
Tensor spread(char const* op, Tensor const& g, Shape const& shape, Places const& places);

/// Of a contiguous x.
Tensor pick_at(char const* op, Tensor const& x, Shape const& shape, Places const& places);
/// A contiguous copy of x with `values` written, or added, at the places.
Tensor put_at(char const* op, Tensor const& x, Places const& places, Tensor const& values, bool accumulate);
/// Writes values at places of y, in place: the last entry of a place stays.
void write(Tensor const& y, Places const& places, Tensor const& values);
/// y += values at the places.
void add_at(Tensor const& y, Places const& places, Tensor const& values);
/// The same in a way of its own, on an accelerator.
void join_at(AtPlace how, Tensor const& y, Places const& places, Tensor const& values);

constexpr int64_t places_grain = 16384;  // elements a chunk: moving one costs about a nanosecond

/// Entries sorted by place into ranges of memory, in their first order within each: a counting sort in chunks.
struct Groups {
  struct Entry {
    int64_t start, i;
  };
  std::vector<Entry> entries;
  std::vector<int64_t> bounds;

  Groups(int64_t const* starts, int64_t n, int64_t count);
};

/// f(entry, place, element of the block, elements) for pieces that make up every block; pieces of one place come in the
/// order of their entries.
template <class F>
void in_order(Places const& places, F const& f) {
  int64_t const n = places.starts.numel(), block = places.block;
  int64_t const* const starts = places.starts.data<int64_t>();
  if (n * block <= 2 * places_grain) {
    for (int64_t i = 0; i < n; ++i) f(i, starts[i], 0, block);
  } else if (constexpr int64_t piece = 1024; block >= 2 * piece) {
    parallel_for(block, piece, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < n; ++i) f(i, starts[i], begin, end - begin);
    });
  } else {
    int64_t const count = std::clamp(n * block / (4 * places_grain), int64_t{1}, int64_t{256});
    Groups const groups(starts, n, count);
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = groups.bounds[size_t(begin)]; k < groups.bounds[size_t(end)]; ++k)
        f(groups.entries[size_t(k)].i, groups.entries[size_t(k)].start, 0, block);
    });
  }
}

/// element = f(element, value) for every entry
template <class T, class F>
void combine(T* target, Places const& places, Tensor const& values, F f) {
  Tensor const from = values.detach().contiguous();
  T const* const source = from.data<T>();
  in_order(places, [=, block = places.block](int64_t i, int64_t start, int64_t at, int64_t count) {
    T* const to = target + start + at;
    T const* const v = source + i * block + at;
    for (int64_t k = 0; k < count; ++k) to[k] = f(to[k], v[k]);
  });
}

}  // namespace heed::detail
