// The linear maps that pooling, interpolation and sampling are made of: a sparse matrix along one axis, and reading
// planes at indices, each with its adjoint.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops/spatial.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>

namespace heed {
namespace {

constexpr int64_t chunk_elements = 16384;

int64_t grain_of(int64_t elements) { return std::max(int64_t{1}, chunk_elements / std::max(int64_t{1}, elements)); }

std::shared_ptr<AxisMap const> transposed(AxisMap const& map) {
  auto t = std::make_shared<AxisMap>();
  t->in = map.out();
  t->first.assign(size_t(map.in) + 1, 0);
  for (int64_t index : map.from) ++t->first[size_t(index) + 1];
  for (size_t i = 1; i < t->first.size(); ++i) t->first[i] += t->first[i - 1];
  t->from.resize(map.from.size());
  t->weight.resize(map.from.size());
  std::vector<int64_t> next = t->first;
  for (int64_t i = 0; i < map.out(); ++i)
    for (int64_t k = map.first[size_t(i)]; k < map.first[size_t(i) + 1]; ++k) {
      auto const place = size_t(next[size_t(map.from[size_t(k)])]++);
      t->from[place] = i;
      t->weight[place] = map.weight[size_t(k)];
    }
  return t;
}

/// x [outer, map.in, inner] → y [outer, map.out(), inner]
template <class T>
void apply(AxisMap const& map, T const* x, T* y, int64_t outer, int64_t inner) {
  std::vector<T> const weight(map.weight.begin(), map.weight.end());
  int64_t const out = map.out(), *const from = map.from.data();
  // Rows of `inner` elements, in pieces of the output axis, so that one large plane is shared too.
  parallel_for(outer * out, grain_of(inner * int64_t(1 + map.from.size() / size_t(std::max(out, int64_t{1})))),
               [&](int64_t begin, int64_t end) {
                 int64_t o = begin / out, i = begin % out;
                 for (int64_t r = begin; r < end; ++r) {
                   T const* const source = x + o * map.in * inner;
                   T* const target = y + r * inner;
                   int64_t const last = map.first[size_t(i) + 1];
                   int64_t k = map.first[size_t(i)];
                   if (inner == 1) {
                     T sum = 0;
                     for (; k < last; ++k) sum += weight[size_t(k)] * source[from[k]];
                     *target = sum;
                   } else if (k == last) {
                     std::fill_n(target, inner, T(0));
                   } else {
                     T const* row = source + from[k] * inner;
                     T w = weight[size_t(k)];
                     for (int64_t j = 0; j < inner; ++j) target[j] = w * row[j];
                     for (++k; k < last; ++k) {
                       row = source + from[k] * inner, w = weight[size_t(k)];
                       for (int64_t j = 0; j < inner; ++j) target[j] += w * row[j];
                     }
                   }
                   if (++i == out) i = 0, ++o;
                 }
               });
}

}  // namespace

void check_spatial(char const* op, Tensor const& x, int axes, bool unbatched, bool no_channels) {
  check_defined(op, x);
  check(x.rank() == axes + 2 || (unbatched && x.rank() == axes + 1), op, [&] {
    return Complaint{
        fmt::format("expected x of rank {}{}, got {}", axes + 2,
                    unbatched ? fmt::format(" (or {} without a batch)", axes + 1) : "", to_string(x.shape())),
        "add or remove axes with unsqueeze and squeeze"};
  });
  for (int a = x.rank() - axes - (no_channels ? 0 : 1); a < x.rank(); ++a)
    check(x.shape()[a] > 0, op, [&] {
      return Complaint{fmt::format("axis {} of x {} is empty", a, to_string(x.shape())), "only the batch may be empty"};
    });
}

Tensor map_axis(Tensor const& x, int axis, std::shared_ptr<AxisMap const> const& map) {
  axis = normalize_axis("map_axis", axis, x.rank());
  Shape shape = x.shape();
  int64_t outer = 1, inner = 1;
  for (int a = 0; a < axis; ++a) outer *= shape[a];
  for (int a = axis + 1; a < x.rank(); ++a) inner *= shape[a];
  shape[axis] = map->out();
  Tensor y(shape, x.dtype());
  Observed const watch("map_axis", {&x}, {&y});
  Tensor const from = x.detach().contiguous();
  if (x.dtype() == Dtype::i64)
    apply(*map, from.data<int64_t>(), y.data<int64_t>(), outer, inner);
  else
    dispatch_floating("map_axis", x.dtype(),
                      [&]<class T>(Type<T>) { apply(*map, from.data<T>(), y.data<T>(), outer, inner); });
  if (tracked(x))
    record("map_axis", y, {&x},
           [map, axis](Tensor const& g, Node const&) { return std::array{map_axis(g, axis, transposed(*map))}; });
  return y;
}

Tensor gather_planes(Tensor const& x, Tensor const& index) {
  int64_t const batch = x.size(0), channels = x.size(1), size = x.size(2), n = index.size(1);
  Tensor y({batch, channels, n}, x.dtype());
  Observed const watch("gather_planes", {&x, &index}, {&y});
  Tensor const from = x.detach().contiguous(), where = index.contiguous();
  int64_t const* const at = where.data<int64_t>();
  dispatch_floating("gather_planes", x.dtype(), [&]<class T>(Type<T>) {
    T const* const source = from.data<T>();
    T* const target = y.data<T>();
    parallel_for(batch * channels, grain_of(n), [=](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        int64_t const* const i = at + plane / channels * n;
        for (int64_t p = 0; p < n; ++p) target[plane * n + p] = i[p] < 0 ? T(0) : source[plane * size + i[p]];
      }
    });
  });
  if (tracked(x))
    record("gather_planes", y, {&x}, [index = Saved(where), size](Tensor const& g, Node const& node) {
      return std::array{scatter_planes(g, index.get(node), size)};
    });
  return y;
}

Tensor scatter_planes(Tensor const& g, Tensor const& index, int64_t size) {
  int64_t const batch = g.size(0), channels = g.size(1), n = g.size(2);
  Tensor x({batch, channels, size}, g.dtype());
  Observed const watch("scatter_planes", {&g, &index}, {&x});
  Tensor const from = g.detach().contiguous(), where = index.contiguous();
  int64_t const* const at = where.data<int64_t>();
  dispatch_floating("scatter_planes", g.dtype(), [&]<class T>(Type<T>) {
    T const* const source = from.data<T>();
    T* const target = x.data<T>();
    parallel_for(batch * channels, grain_of(n + size), [=](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        int64_t const* const i = at + plane / channels * n;
        std::fill_n(target + plane * size, size, T(0));
        for (int64_t p = 0; p < n; ++p)
          if (i[p] >= 0) target[plane * size + i[p]] += source[plane * n + p];
      }
    });
  });
  if (tracked(g))
    record("scatter_planes", x, {&g}, [index = Saved(where)](Tensor const& h, Node const& node) {
      return std::array{gather_planes(h, index.get(node))};
    });
  return x;
}

}  // namespace heed
