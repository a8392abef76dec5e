// Sorting and order statistics along one axis. Elements become unsigned keys of the same order, so that every type is
// sorted by the same code; equal keys keep their places, NaN comes last.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/along.h>
#include <heed/engine/ops/places.h>
#include <heed/engine/ops/sort.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

namespace heed {
namespace {

template <class T>
using KeyOf = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

/// Equal for equal values (−0 and 0 among them), ordered as they are, the largest of all for NaN.
template <class T>
KeyOf<T> key_of(T x) {
  using Key = KeyOf<T>;
  constexpr Key top = Key{1} << (8 * sizeof(Key) - 1);
  if constexpr (std::is_floating_point_v<T>) {
    if (x != x) return ~Key{0};
    Key const bits = std::bit_cast<Key>(x == 0 ? T(0) : x);
    return bits & top ? ~bits : bits | top;
  } else if constexpr (std::is_signed_v<T>) {
    return Key(std::make_signed_t<Key>(x)) ^ top;
  } else {
    return Key(x);
  }
}

template <class Key>
struct Entry {
  Key key;
  Key at;  // place in its line
  friend bool operator<(Entry a, Entry b) { return a.key < b.key || (a.key == b.key && a.at < b.at); }
};

/// Least significant digit first, a digit that all keys share being skipped; short lines by comparison.
template <class Key>
void sort_entries(std::vector<Entry<Key>>& line, std::vector<Entry<Key>>& spare) {
  constexpr int bits = 8, digits = sizeof(Key);
  if (line.size() < 256) {
    std::sort(line.begin(), line.end());
    return;
  }
  spare.resize(line.size());
  std::vector<std::array<size_t, 1 << bits>> counts(digits);
  for (Entry<Key> const e : line)
    for (int d = 0; d < digits; ++d) ++counts[size_t(d)][e.key >> (bits * d) & 255];
  for (int d = 0; d < digits; ++d) {
    auto& count = counts[size_t(d)];
    if (count[line[0].key >> (bits * d) & 255] == line.size()) continue;
    size_t start = 0;
    for (size_t& c : count) start += std::exchange(c, start);
    for (Entry<Key> const e : line) spare[count[e.key >> (bits * d) & 255]++] = e;
    line.swap(spare);
  }
}

constexpr int64_t grain = 4096;  // elements a chunk

/// f(line, line number, spare) for every line of x along the axis, its keys inverted if `descending`; in parallel.
template <class T, class F>
void each_line(Along const& r, bool descending, F const& f) {
  using Key = KeyOf<T>;
  auto const* const xs = static_cast<T const*>(r.x.raw());
  parallel_for(r.outer * r.inner, std::max(grain / std::max(r.n, int64_t{1}), int64_t{1}),
               [&](int64_t begin, int64_t end) {
                 std::vector<Entry<Key>> line, spare;
                 for (int64_t at = begin; at < end; ++at) {
                   line.resize(size_t(r.n));
                   T const* const from = xs + at / r.inner * r.n * r.inner + at % r.inner;
                   for (int64_t k = 0; k < r.n; ++k) {
                     Key const key = key_of(from[k * r.inner]);
                     line[size_t(k)] = {descending ? Key(~key) : key, Key(k)};
                   }
                   f(line, at, spare);
                 }
               });
}

void check_line(char const* op, Along const& r) {
  check(r.n <= int64_t{std::numeric_limits<uint32_t>::max()}, op, [&] {
    return Complaint{fmt::format("axis {} of shape {} is longer than 2^32 - 1", r.axis, to_string(r.x.shape())),
                     "split it"};
  });
}

void check_not_bool(char const* op, Tensor const& x) {
  check_defined(op, x);
  if (x.dtype() == Dtype::boolean) detail::unsupported_dtype(op, x.dtype(), "numbers");
}

Shape with_size(Along const& r, int64_t size) {
  Shape shape = r.x.shape();
  if (shape.rank() > 0) shape[r.axis] = size;
  return shape;
}

// ---- on accelerators -----------------------------------------------------------------------------------------------

DeviceSortKernels const& on(char const* op, Along const& r) {
  return device_kernels<DeviceSortKernels>(r.x.device(), op);
}
Lines lines_of(Along const& r) { return {r.x.address(), r.x.dtype(), r.outer, r.n, r.inner}; }

/// The places of the first `keep` elements of each line.
Tensor order_of(char const* op, Along const& r, bool descending, int64_t keep) {
  Tensor indices(with_size(r, keep), Dtype::i64, r.x.device());
  on(op, r).sort(lines_of(r), descending, keep, indices.address<int64_t>());
  return indices;
}

// ---- one element of a line -----------------------------------------------------------------------------------------

/// The element of every line that `place(line)` names, as x with size 1 along the axis, or without it; on accelerators
/// device_places(r) names them all.
template <class Place, class DevicePlaces>
Indexed one_of_each(char const* op, Tensor const& x, int axis, bool keep, Place const& place,
                    DevicePlaces const& device_places) {
  check_defined(op, x);
  Along const r = along(op, computed(x), axis);
  check_line(op, r);
  check_not_empty(op, x, r.n == 0 && r.outer * r.inner > 0);
  Tensor indices;
  Observed const watch(op, {&r.x}, {&indices});
  if (r.x.device().is_cpu()) {
    indices = Tensor(with_size(r, 1), Dtype::i64);
    int64_t* const to = indices.data<int64_t>();
    dispatch_computed(op, r.x.dtype(), [&]<class T>(Type<T>) {
      each_line<T>(r, false, [&](auto& line, int64_t at, auto& spare) {
        if (!line.empty()) to[at] = int64_t(place(Type<T>{}, line, spare));
      });
    });
  } else {
    indices = device_places(r);
  }
  Tensor const values = pick(op, x, axis, indices, true);
  if (keep || x.rank() == 0) return {values, indices};
  return {values.squeeze(r.axis), indices.squeeze(r.axis)};
}

template <class Key>
Key nth(std::vector<Entry<Key>>& line, size_t k) {
  std::nth_element(line.begin(), line.begin() + ptrdiff_t(k), line.end());
  return line[k].at;
}

/// Where the median of a line is, its lower one of two; `skip_nan`: of the numbers in it.
struct MedianPlace {
  bool skip_nan;
  template <class T, class Key>
  Key operator()(Type<T>, std::vector<Entry<Key>>& line, std::vector<Entry<Key>>&) const {
    size_t numbers = line.size();
    if constexpr (std::is_floating_point_v<T>) {
      auto const nan = [](Entry<Key> e) { return e.key == ~Key{0}; };
      auto const first = std::find_if(line.begin(), line.end(), nan);
      if (first != line.end() && !skip_nan) return first->at;
      numbers -= size_t(std::count_if(first, line.end(), nan));
    }
    return nth(line, numbers == 0 ? 0 : (numbers - 1) / 2);
  }
};

/// Where the most frequent element of a line is: the smallest of those, its last place; NaN equals nothing.
struct ModePlace {
  template <class T, class Key>
  Key operator()(Type<T>, std::vector<Entry<Key>>& line, std::vector<Entry<Key>>& spare) const {
    sort_entries(line, spare);
    size_t most = 0, run = 0;
    Key best = 0;
    for (size_t i = 0; i < line.size(); ++i) {
      bool const nan = std::is_floating_point_v<T> && line[i].key == ~Key{0};
      run = i > 0 && !nan && line[i].key == line[i - 1].key ? run + 1 : 1;
      if (run > most) most = run, best = line[i].at;
    }
    return best;
  }
};

void check_count(char const* op, int64_t k, int64_t low, Along const& r) {
  check(k >= low && k <= r.n, op, [&] {
    return Complaint{fmt::format("expected k from {} to {}, the size of axis {} of shape {}, got {}", low, r.n, r.axis,
                                 to_string(r.x.shape()), k),
                     "ask for no more elements than there are"};
  });
}

}  // namespace

Tensor argsort(Tensor const& x, int axis, bool descending) {
  check_defined("argsort", x);
  Along const r = along("argsort", computed(x), axis);
  check_line("argsort", r);
  Tensor indices;
  Observed const watch("argsort", {&r.x}, {&indices});
  if (!x.device().is_cpu()) return indices = order_of("argsort", r, descending, r.n);
  indices = Tensor(x.shape(), Dtype::i64);
  int64_t* const to = indices.data<int64_t>();
  dispatch_computed("argsort", r.x.dtype(), [&]<class T>(Type<T>) {
    each_line<T>(r, descending, [&](auto& line, int64_t at, auto& spare) {
      sort_entries(line, spare);
      int64_t* const out = to + at / r.inner * r.n * r.inner + at % r.inner;
      for (int64_t k = 0; k < r.n; ++k) out[k * r.inner] = int64_t(line[size_t(k)].at);
    });
  });
  return indices;
}

Indexed sort(Tensor const& x, int axis, bool descending) {
  Tensor const indices = argsort(x, axis, descending);
  return {pick("sort", x, axis, indices, true), indices};
}

Tensor msort(Tensor const& x) { return sort(x, 0).values; }

namespace {

/// The k first entries of a line in order of their keys, kept in a heap: few of a long line get into it.
template <class T, class Key = KeyOf<T>>
void first_entries(T const* from, int64_t n, int64_t stride, bool largest, int64_t k, std::vector<Entry<Key>>& heap) {
  heap.clear();
  for (int64_t i = 0; i < n; ++i) {
    Key const key = key_of(from[i * stride]);
    Entry<Key> const e{largest ? Key(~key) : key, Key(i)};
    if (i >= k) {
      if (!(e < heap.front())) continue;
      std::pop_heap(heap.begin(), heap.end());
      heap.back() = e;
    } else {
      heap.push_back(e);
    }
    std::push_heap(heap.begin(), heap.end());
  }
}

}  // namespace

Indexed topk(Tensor const& x, int64_t k, int axis, bool largest, bool sorted) {
  check_not_bool("topk", x);
  Along const r = along("topk", computed(x), axis);
  check_line("topk", r);
  check_count("topk", k, 0, r);
  Tensor indices(with_size(r, k), Dtype::i64, x.device());
  if (k == 0 || indices.numel() == 0) return {pick("topk", x, axis, indices), indices};
  if (!x.device().is_cpu()) {
    indices = order_of("topk", r, largest, k);
    return {pick("topk", x, axis, indices, true), indices};
  }
  int64_t* const to = indices.data<int64_t>();
  auto const write = [&](auto& line, int64_t at) {
    if (sorted) std::sort(line.begin(), line.begin() + ptrdiff_t(k));
    int64_t* const out = to + at / r.inner * k * r.inner + at % r.inner;
    for (int64_t j = 0; j < k; ++j) out[j * r.inner] = int64_t(line[size_t(j)].at);
  };
  Observed const watch("topk", {&r.x}, {&indices});
  dispatch_computed("topk", r.x.dtype(), [&]<class T>(Type<T>) {
    if (k > r.n / 16) {
      each_line<T>(r, largest, [&](auto& line, int64_t at, auto&) {
        if (k < r.n) std::nth_element(line.begin(), line.begin() + ptrdiff_t(k - 1), line.end());
        write(line, at);
      });
      return;
    }
    parallel_for(r.outer * r.inner, std::max(4 * grain / r.n, int64_t{1}), [&](int64_t begin, int64_t end) {
      std::vector<Entry<KeyOf<T>>> heap;
      for (int64_t at = begin; at < end; ++at) {
        auto const* const from = static_cast<T const*>(r.x.raw()) + at / r.inner * r.n * r.inner + at % r.inner;
        first_entries(from, r.n, r.inner, largest, k, heap);
        write(heap, at);
      }
    });
  });
  return {pick("topk", x, axis, indices), indices};
}

Indexed kthvalue(Tensor const& x, int64_t k, int axis, bool keep) {
  check_not_bool("kthvalue", x);
  check_count("kthvalue", k, 1, along("kthvalue", x, axis));
  return one_of_each(
      "kthvalue", x, axis, keep, [k](auto, auto& line, auto&) { return nth(line, size_t(k - 1)); },
      [k](Along const& r) {
        Tensor const first = order_of("kthvalue", r, false, k);
        return first.rank() == 0 ? first : first.slice(r.axis, k - 1, k).contiguous();
      });
}

namespace {

/// f(kernels, lines, their order, places)
template <class F>
Tensor from_sorted(char const* op, Along const& r, F const& f) {
  Tensor const order = order_of(op, r, false, r.n);
  Tensor at(with_size(r, 1), Dtype::i64, r.x.device());
  f(on(op, r), lines_of(r), order.address<int64_t>(), at.address<int64_t>());
  return at;
}

Indexed middle(char const* op, Tensor const& x, int axis, bool keep, bool skip_nan) {
  check_not_bool(op, x);
  return one_of_each(op, x, axis, keep, MedianPlace{skip_nan}, [=](Along const& r) {
    return from_sorted(op, r, [=](DeviceSortKernels const& kernels, Lines const& lines, auto* order, auto* at) {
      kernels.median(lines, order, skip_nan, at);
    });
  });
}

}  // namespace

Indexed median(Tensor const& x, int axis, bool keep) { return middle("median", x, axis, keep, false); }
Indexed nanmedian(Tensor const& x, int axis, bool keep) { return middle("nanmedian", x, axis, keep, true); }

Indexed mode(Tensor const& x, int axis, bool keep) {
  return one_of_each("mode", x, axis, keep, ModePlace{}, [](Along const& r) {
    return from_sorted("mode", r, [](DeviceSortKernels const& kernels, Lines const& lines, auto* order, auto* at) {
      kernels.mode(lines, order, at);
    });
  });
}

// ---- equal elements -------------------------------------------------------------------------------------------------

namespace {

/// What is equal in a list of n: a number for each element, counted from 0 in order of appearance in `order`.
struct Groups {
  Tensor first;  // member of each group
  Tensor inverse, counts;
};

Tensor list(std::vector<int64_t> const& values) { return tensor(values, {int64_t(values.size())}); }

/// equal(i, j): whether element order[i] equals order[j = i − 1].
template <class Equal>
Groups group(std::vector<int64_t> const& order, Equal const& equal) {
  int64_t const n = int64_t(order.size());
  Groups g;
  g.inverse = Tensor({n}, Dtype::i64);
  std::vector<int64_t> first, counts;
  for (int64_t i = 0; i < n; ++i) {
    if (i == 0 || !equal(order[size_t(i)], order[size_t(i - 1)])) {
      first.push_back(order[size_t(i)]);
      counts.push_back(0);
    }
    g.inverse.data<int64_t>()[order[size_t(i)]] = int64_t(counts.size()) - 1;
    ++counts.back();
  }
  g.first = list(first), g.counts = list(counts);
  return g;
}

/// The same of element order[r], or r, where head[r] says that it is the first of its group. The host waits for their
/// number.
Groups group(Tensor const& order, Tensor const& head) {
  Tensor const starts = nonzero(head).squeeze(1), number = cumsum(head, 0) - 1;
  Tensor const last = full({1}, head.numel(), Dtype::i64, head.device());
  Groups g{starts, number, diff(starts, 1, 0, {}, last)};
  if (!order.defined()) return g;
  g.first = index_select(order, 0, starts);
  g.inverse = Tensor(order.shape(), Dtype::i64, order.device());
  detail::write(g.inverse, {order, 1, true}, number);
  return g;
}

std::vector<int64_t> in_order(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) order[size_t(i)] = i;
  return order;
}

Groups group_elements(char const* op, Tensor const& flat, bool sorted) {
  Tensor const all = computed(flat).contiguous();
  if (!flat.device().is_cpu()) {
    Along const r = along(op, all, 0);
    Tensor const order = sorted ? argsort(flat, 0) : Tensor(), head(flat.shape(), Dtype::boolean, flat.device());
    on(op, r).heads(lines_of(r), sorted ? order.address<int64_t>() : nullptr, head.address<bool>());
    return group(order, head);
  }
  auto const order = sorted ? argsort(flat, 0).to_vector<int64_t>() : in_order(flat.numel());
  return dispatch_computed(op, all.dtype(), [&]<class T>(Type<T>) {
    auto const* const xs = static_cast<T const*>(all.raw());
    return group(order, [=](int64_t i, int64_t j) { return xs[i] == xs[j]; });
  });
}

Unique unique_elements(char const* op, Tensor const& x, bool sorted) {
  check_defined(op, x);
  no_gradient(op, {x});
  Tensor const flat = x.detach().reshape({x.numel()});
  Groups const g = group_elements(op, flat, sorted);
  return {pick(op, flat, 0, g.first), g.inverse.reshape(x.shape()), g.counts};
}

/// On an accelerator by stable sorts, one for each element of a slice, the last first.
Groups group_rows(Tensor const& slices, bool sorted) {
  int64_t const n = slices.size(0), width = slices.size(1);
  Tensor order;
  if (sorted) {
    // What follows a NaN, which equals nothing, does not count.
    Tensor const nan = (slices != slices).to(Dtype::i64);
    Tensor const counts = where(cumsum(nan, 1) == nan, slices, zeros({}, slices.dtype(), slices.device()));
    order = arange(n, slices.device());
    for (int64_t c = width - 1; c >= 0; --c)
      order = index_select(order, 0, argsort(index_select(counts.select(1, c), 0, order), 0));
  }
  Tensor const rows = sorted ? index_select(slices, 0, order) : slices;
  Tensor const first = ones({std::min(n, int64_t{1})}, Dtype::boolean, slices.device());
  Tensor const differ =
      any(rows.slice(0, std::min(n, int64_t{1}), n) != rows.slice(0, 0, std::max(n - 1, int64_t{0})), Dims{1});
  return group(order, cat({first, differ}, 0));
}

Groups group_slices(char const* op, Along const& r, bool sorted) {
  if (!r.x.device().is_cpu())
    return group_rows(r.x.reshape({r.outer, r.n, r.inner}).permute({1, 0, 2}).reshape({r.n, r.outer * r.inner}),
                      sorted);
  auto order = in_order(r.n);
  return dispatch_computed(op, r.x.dtype(), [&]<class T>(Type<T>) {
    auto const* const xs = static_cast<T const*>(r.x.raw());
    /// The first difference of slices i and j: negative, zero or positive as i is less, equal or greater.
    auto const compare = [&](int64_t i, int64_t j) {
      for (int64_t o = 0; o < r.outer; ++o)
        for (int64_t k = 0; k < r.inner; ++k) {
          T const a = xs[(o * r.n + i) * r.inner + k], b = xs[(o * r.n + j) * r.inner + k];
          if (key_of(a) != key_of(b)) return key_of(a) < key_of(b) ? -1 : 1;
          if (a != a) return i < j ? -1 : i > j;  // NaN equals nothing
        }
      return 0;
    };
    if (sorted) std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return compare(i, j) < 0; });
    return group(order, [&](int64_t i, int64_t j) { return compare(i, j) == 0; });
  });
}

Unique unique_slices(char const* op, Tensor const& x, int axis, bool sorted) {
  check_defined(op, x);
  Along const r = along(op, computed(x), axis);
  no_gradient(op, {x});
  check(r.n == 0 || r.outer * r.inner > 0, op, [&] {
    return Complaint{
        fmt::format("axis {} of shape {} holds {} slices without elements", r.axis, to_string(x.shape()), r.n),
        "name the axis of size 0, or none"};
  });
  Groups const g = group_slices(op, r, sorted);
  int64_t const groups = g.first.numel();
  Shape wanted = x.shape(), ones = Dims::filled(x.rank(), 1);
  if (x.rank() == 0) return {x.detach(), g.inverse, g.counts};
  wanted[r.axis] = groups;
  ones[r.axis] = groups;
  return {pick(op, x.detach(), axis, g.first.reshape(ones).expand(wanted)), g.inverse, g.counts};
}

}  // namespace

Unique unique(Tensor const& x) { return unique_elements("unique", x, true); }
Unique unique(Tensor const& x, int axis) { return unique_slices("unique", x, axis, true); }
Unique unique_consecutive(Tensor const& x) { return unique_elements("unique_consecutive", x, false); }
Unique unique_consecutive(Tensor const& x, int axis) { return unique_slices("unique_consecutive", x, axis, false); }

}  // namespace heed
