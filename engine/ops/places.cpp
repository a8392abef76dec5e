// Elements read and written at their places (places.h). Where a place repeats, writes happen in the order of the
// entries, for any number of threads.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops/places.h>
#include <heed/engine/tape.h>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace heed::detail {

Groups::Groups(int64_t const* starts, int64_t n, int64_t count) : entries(size_t(n)), bounds(size_t(count) + 1) {
  auto const [low, high] = std::minmax_element(starts, starts + n);
  int64_t const first = *low;
  int shift = 0;  // a range is 2^shift elements: dividing would cost more than moving an element
  while ((*high - first) >> shift >= count) ++shift;
  constexpr int64_t chunk = 65536;
  int64_t const chunks = (n + chunk - 1) / chunk;
  std::vector<int64_t> at(size_t(chunks * count));  // how many of each chunk fall into each range, then where to
  parallel_for(n, chunk, [&](int64_t begin, int64_t end) {
    int64_t* const here = at.data() + begin / chunk * count;
    for (int64_t i = begin; i < end; ++i) ++here[(starts[i] - first) >> shift];
  });
  int64_t total = 0;
  for (int64_t group = 0; group < count; ++group) {
    bounds[size_t(group)] = total;
    for (int64_t c = 0; c < chunks; ++c) total += std::exchange(at[size_t(c * count + group)], total);
  }
  bounds[size_t(count)] = total;
  parallel_for(n, chunk, [&](int64_t begin, int64_t end) {
    int64_t* const here = at.data() + begin / chunk * count;
    for (int64_t i = begin; i < end; ++i) entries[size_t(here[(starts[i] - first) >> shift]++)] = {starts[i], i};
  });
}

namespace {

bool all_the_same(Tensor const& x) {
  for (int a = 0; a < x.rank(); ++a)
    if (x.strides()[a] != 0 && x.shape()[a] != 1) return false;
  return true;
}

DeviceIndexKernels const& on(Device device) { return device_kernels<DeviceIndexKernels>(device, "index"); }

IndexBlocks blocks_of(Places const& places, int64_t limit) {
  return {places.starts.address<int64_t>(), places.starts.numel(), places.block, limit, places.distinct};
}

/// Elements of memory from y's first to its last.
int64_t extent(Tensor const& y) {
  int64_t apart = 0;
  for (int a = 0; a < y.rank(); ++a) apart += (y.shape()[a] - 1) * std::abs(y.strides()[a]);
  return apart + 1;
}

/// y = x's elements at the places.
void read(Tensor const& x, Places const& places, Tensor const& y) {
  if (!x.device().is_cpu())
    return on(x.device()).read(blocks_of(places, 0), x.address(), y.address(), int(size_of(y.dtype())));
  int64_t const* const starts = places.starts.data<int64_t>();
  int64_t const n = places.starts.numel(), block = places.block;
  dispatch_size(size_of(y.dtype()), [&]<class E>(Type<E>) {
    auto const* const source = static_cast<E const*>(x.raw());
    auto* const to = static_cast<E*>(y.raw());
    parallel_for(n, std::max(places_grain / block, int64_t{1}), [&](int64_t begin, int64_t end) {
      if (block == 1)
        for (int64_t i = begin; i < end; ++i) to[i] = source[starts[i]];
      else
        for (int64_t i = begin; i < end; ++i)
          std::memcpy(to + i * block, source + starts[i], size_t(block) * sizeof(E));
    });
  });
}

}  // namespace

void join_at(AtPlace how, Tensor const& y, Places const& places, Tensor const& values) {
  if (places.starts.numel() == 0) return;
  bool const one = all_the_same(values);
  Tensor const from = one ? values : values.detach().contiguous();
  on(y.device()).write(how, y.dtype(), blocks_of(places, extent(y)), from.address(), one, y.address());
}

void write(Tensor const& y, Places const& places, Tensor const& values) {
  if (!y.device().is_cpu()) return join_at(AtPlace::last, y, places, values);
  bool const one = all_the_same(values);
  Tensor const from = one ? values : values.detach().contiguous();
  int64_t const block = places.block;
  dispatch_size(size_of(values.dtype()), [&]<class E>(Type<E>) {
    auto* const target = static_cast<E*>(y.raw());
    auto const* const source = static_cast<E const*>(from.raw());
    if (one)
      in_order(places, [=](int64_t, int64_t start, int64_t at, int64_t count) {
        for (int64_t k = 0; k < count; ++k) target[start + at + k] = *source;
      });
    else if (block == 1)
      in_order(places, [=](int64_t i, int64_t start, int64_t, int64_t) { target[start] = source[i]; });
    else
      in_order(places, [=](int64_t i, int64_t start, int64_t at, int64_t count) {
        std::memcpy(target + start + at, source + i * block + at, size_t(count) * sizeof(E));
      });
  });
}

void add_at(Tensor const& y, Places const& places, Tensor const& values) {
  if (!y.device().is_cpu()) return join_at(AtPlace::sum, y, places, values);
  dispatch(y.dtype(), [&]<class T>(Type<T>) {
    combine(y.data<T>(), places, values, [](T a, T b) {
      if constexpr (std::is_same_v<T, bool>)
        return a || b;
      else
        return T(a + b);
    });
  });
}

namespace {

/// Whether each entry is the last of its place: bool [n, 1].
Tensor stays(Places const& places, Shape const& shape) {
  if (Device const device = places.starts.device(); !device.is_cpu()) {
    Tensor const last({places.starts.numel(), 1}, Dtype::boolean, device);
    on(device).is_last(blocks_of(places, numel(shape)), last.address<bool>());
    return last;
  }
  Tensor const last(shape, Dtype::i64);  // read only where it was written
  write(last, {places.starts, 1}, arange(places.starts.numel()));
  Tensor owner({places.starts.numel(), 1}, Dtype::i64);
  read(last, {places.starts, 1}, owner);
  return owner == arange(places.starts.numel()).unsqueeze(1);
}

}  // namespace

IndexSpace index_space(char const* op, Shape const& space, Strides const& steps, int64_t base,
                       std::vector<Table> const& tables) {
  check(tables.size() <= size_t(IndexSpace::most_parts), op, [&] {
    return Complaint{fmt::format("{} index tensors are more than the {} that an accelerator takes", tables.size(),
                                 int(IndexSpace::most_parts)),
                     "index in two steps"};
  });
  IndexSpace s{.space = {.rank = space.rank(), .numel = numel(space)}, .base = base, .parts = int(tables.size())};
  for (int a = 0; a < space.rank(); ++a) {
    s.space.shape[a] = space[a];
    s.space.stride[0][a] = steps[a];
  }
  for (size_t t = 0; t < tables.size(); ++t) {
    Table const& table = tables[t];
    check(table.size > 0 || s.space.numel == 0, op, [&] {
      return Complaint{fmt::format("axis {} of size 0 is indexed", table.axis), "an axis of size 0 has no element"};
    });
    s.part[t] = {table.index.address<int64_t>(),   {},         table.factor,
                 table.negative ? -table.size : 0, table.size, table.axis};
    for (int a = 0; a < space.rank(); ++a) s.part[t].steps[a] = table.steps[a];
  }
  return s;
}

Tensor starts_of(char const* op, Shape const& space, Strides const& steps, int64_t base,
                 std::vector<Table> const& tables, Device device) {
  int64_t const n = numel(space);
  Tensor y({n}, Dtype::i64, device);
  if (!device.is_cpu()) {
    on(device).starts(op, index_space(op, space, steps, base, tables), y.address<int64_t>());
    return y;
  }
  int64_t* const out = y.data<int64_t>();
  int const last = space.rank() - 1;
  int64_t const inner = last < 0 ? 1 : space[last], step = last < 0 ? 0 : steps[last];
  parallel_for(n, places_grain, [&](int64_t begin, int64_t end) {
    for (int64_t count; begin < end; begin += count) {
      int64_t const first = begin % inner;
      count = std::min(inner - first, end - begin);
      int64_t at[Dims::max_rank] = {};
      int64_t start = base + first * step;
      for (int64_t axis = last - 1, rest = begin / inner; axis >= 0; rest /= space[int(axis)], --axis) {
        at[axis] = rest % space[int(axis)];
        start += at[axis] * steps[int(axis)];
      }
      for (int64_t i = 0; i < count; ++i) out[begin + i] = start + i * step;
      for (Table const& table : tables) {
        int64_t const along = last < 0 ? 0 : table.steps[last];
        int64_t const* from = table.index.data<int64_t>() + first * along;
        for (int axis = 0; axis < last; ++axis) from += at[axis] * table.steps[axis];
        for (int64_t i = 0; i < count; ++i) {
          int64_t const index = from[i * along];
          out[begin + i] += (index < 0 ? index + table.size : index) * table.factor;
        }
      }
    }
  });
  return y;
}

Tensor pick_at(char const* op, Tensor const& x, Shape const& shape, Places const& places) {
  return pick(op, x.contiguous(), shape, [&](Strides const&) { return places; });
}

Tensor pick(char const* op, Tensor const& x, Shape const& shape, Where const& where) {
  Places const places = where(x.strides());
  Tensor y(shape, x.dtype(), x.device());
  Observed const watch(op, {&x}, {&y});
  read(x, places, y);
  if (tracked(x))
    record(op, y, {&x},
           [op, shape = x.shape(), places = x.is_contiguous() ? places : where(contiguous_strides(x.shape()))](
               Tensor const& g, Node const&) { return std::array{spread(op, g, shape, places)}; });
  return y;
}

Tensor spread(char const* op, Tensor const& g, Shape const& shape, Places const& places) {
  if (is_half(g.dtype())) return spread(op, g.to(Dtype::f32), shape, places).to(g.dtype());
  Tensor y = zeros(shape, g.dtype(), g.device());
  Observed const watch(op, {&g}, {&y});
  add_at(y, places, g);
  if (tracked(g))
    record(op, y, {&g}, [op, shape = g.shape(), places](Tensor const& h, Node const&) {
      return std::array{pick_at(op, h, shape, places)};
    });
  return y;
}

Tensor put_at(char const* op, Tensor const& x, Places const& places, Tensor const& values, bool accumulate) {
  if (accumulate && is_half(x.dtype()))
    return put_at(op, x.to(Dtype::f32), places, values.to(Dtype::f32), true).to(x.dtype());
  common_device(op, {&x, &values});
  Tensor y = x.detach().clone();
  Observed const watch(op, {&x, &values}, {&y});
  if (accumulate)
    add_at(y, places, values);
  else
    write(y, places, values);
  if (tracked(x, values))
    record(op, y, {&x, &values},
           [=, shape = values.shape()](Tensor const& g, Node const& node) -> std::array<Tensor, 2> {
             Tensor dx = g, dv;
             if (node.needs(0) && !accumulate)
               dx = put_at(op, g, places, zeros({}, g.dtype(), g.device()).expand(shape), false);
             if (node.needs(1)) dv = pick_at(op, g, shape, places);
             if (node.needs(1) && !accumulate && dv.numel() > 0) {
               Tensor const by_block = dv.reshape({places.starts.numel(), places.block});
               dv = heed::where(stays(places, g.shape()), by_block, 0.0).reshape(shape);
             }
             return {dx, dv};
           });
  return y;
}

}  // namespace heed::detail
