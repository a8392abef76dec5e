// The linear maps that pooling, interpolation and sampling are made of: a sparse matrix along one axis, and reading
// planes at indices, each with its adjoint.
#include <fmt/format.h>
#include <heed/engine/backend.h>
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

void apply_u8(AxisMap const& map, int bits, uint8_t const* x, uint8_t* y, int64_t outer, int64_t inner) {
  std::vector<int64_t> weight;
  for (double w : map.weight) weight.push_back(fixed_point(w, bits));
  for (int64_t o = 0; o < outer; ++o)
    for (size_t i = 0; i + 1 < map.first.size(); ++i)
      for (int64_t j = 0; j < inner; ++j) {
        int64_t sum = bits > 0 ? int64_t{1} << (bits - 1) : 0;
        for (auto k = size_t(map.first[i]); k < size_t(map.first[i + 1]); ++k)
          sum += weight[k] * x[(o * map.in + map.from[k]) * inner + j];
        *y++ = uint8_t(std::clamp(sum >> bits, int64_t{0}, int64_t{255}));
      }
}

template <class T>
void gather(Planes const& s, T const* x, int64_t const* index, T* y) {
  parallel_for(s.batch * s.channels, grain_of(s.n), [=](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      int64_t const* const i = index + plane / s.channels * s.n;
      for (int64_t p = 0; p < s.n; ++p) y[plane * s.n + p] = i[p] < 0 ? T(0) : x[plane * s.size + i[p]];
    }
  });
}

/// join(x, y) wherever y is read from x.
template <class T, class Join>
void spread(Planes const& s, T const* y, int64_t const* index, T* x, Join const& join) {
  parallel_for(s.batch * s.channels, grain_of(s.n + s.size), [=](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      int64_t const* const i = index + plane / s.channels * s.n;
      std::fill_n(x + plane * s.size, s.size, T(0));
      for (int64_t p = 0; p < s.n; ++p)
        if (i[p] >= 0) join(x[plane * s.size + i[p]], y[plane * s.n + p]);
    }
  });
}
template <class T>
void scatter(Planes const& s, T const* y, int64_t const* index, T* x) {
  spread(s, y, index, x, [](T& to, T from) { to += from; });
}
template <class T>
void place(Planes const& s, T const* y, int64_t const* index, T* x) {
  spread(s, y, index, x, [](T& to, T from) { to = from; });
}

template <class T>
void locate(GridAxis const& axis, int64_t n, T const* x, T* at, T* slope) {
  for (int64_t i = 0; i < n; ++i) {
    Located const u = axis.bounded(axis.locate(double(x[i])));
    at[i] = T(u.at), slope[i] = T(u.slope);
  }
}
template <class T>
void tap(GridTap<T> const& tap, int64_t n, int64_t* index) {
  for (int64_t i = 0; i < n; ++i) index[i] = tap.place(i);
}

template <class T>
constexpr SpatialKernelsOf<T> table{apply<T>, gather<T>, scatter<T>, place<T>, locate<T>, tap<T>};
constexpr SpatialKernels on_processor{{table<float>, table<double>}, apply<int64_t>, apply_u8};

}  // namespace

SpatialKernels const& spatial_kernels(Device device, std::string_view op) {
  return device.is_cpu() ? on_processor : device_kernels<SpatialKernels>(device, op);
}

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
  Tensor y(shape, x.dtype(), x.device());
  Observed const watch("map_axis", {&x}, {&y});
  Tensor const from = x.detach().contiguous();
  SpatialKernels const& k = spatial_kernels(x.device(), "map_axis");
  if (x.dtype() == Dtype::i64)
    k.apply_i64(*map, from.address<int64_t>(), y.address<int64_t>(), outer, inner);
  else
    dispatch_floating("map_axis", x.dtype(), [&]<class T>(Type<T>) {
      k.of<T>().apply(*map, from.address<T>(), y.address<T>(), outer, inner);
    });
  if (tracked(x))
    record("map_axis", y, {&x},
           [map, axis](Tensor const& g, Node const&) { return std::array{map_axis(g, axis, transposed(*map))}; });
  return y;
}

Tensor gather_planes(Tensor const& x, Tensor const& index) {
  Planes const s{x.size(0), x.size(1), x.size(2), index.size(1)};
  Tensor y({s.batch, s.channels, s.n}, x.dtype(), x.device());
  Observed const watch("gather_planes", {&x, &index}, {&y});
  Tensor const from = x.detach().contiguous(), where = index.contiguous();
  dispatch_floating("gather_planes", x.dtype(), [&]<class T>(Type<T>) {
    spatial_kernels(x.device(), "gather_planes")
        .of<T>()
        .gather(s, from.address<T>(), where.address<int64_t>(), y.address<T>());
  });
  if (tracked(x))
    record("gather_planes", y, {&x}, [index = Saved(where), size = s.size](Tensor const& g, Node const& node) {
      return std::array{scatter_planes(g, index.get(node), size)};
    });
  return y;
}

namespace {
/// gather_planes the other way round, by one of the kernels that do so.
template <class Kernel>
Tensor into_planes(char const* op, Tensor const& y, Tensor const& index, int64_t size, Kernel const& kernel) {
  Planes const s{y.size(0), y.size(1), size, y.size(2)};
  Tensor x({s.batch, s.channels, size}, y.dtype(), y.device());
  Observed const watch(op, {&y, &index}, {&x});
  Tensor const from = y.detach().contiguous(), where = index.contiguous();
  dispatch_floating(op, y.dtype(), [&]<class T>(Type<T>) {
    kernel(spatial_kernels(y.device(), op).of<T>())(s, from.address<T>(), where.address<int64_t>(), x.address<T>());
  });
  if (tracked(y))
    record(op, x, {&y}, [index = Saved(where)](Tensor const& h, Node const& node) {
      return std::array{gather_planes(h, index.get(node))};
    });
  return x;
}
}  // namespace

Tensor scatter_planes(Tensor const& g, Tensor const& index, int64_t size) {
  return into_planes("scatter_planes", g, index, size, [](auto const& k) { return k.scatter; });
}
Tensor place_planes(Tensor const& x, Tensor const& index, int64_t size) {
  return into_planes("place_planes", x, index, size, [](auto const& k) { return k.place; });
}

}  // namespace heed
