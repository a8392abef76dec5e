// Interpolation, sampling at points, windows as columns, shuffles.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

double keys(double t, double a) {
  t = std::abs(t);
  if (t <= 1) return (a + 2) * t * t * t - (a + 3) * t * t + 1;
  return t < 2 ? a * t * t * t - 5 * a * t * t + 8 * a * t - 4 * a : 0;
}

/// weight[j] of every element j of an axis for output i.
std::vector<double> weights_of(int64_t i, int64_t in, int64_t out, InterpolateOptions const& o, double scale) {
  std::vector<double> w(static_cast<size_t>(in));
  double const step = o.align_corners ? (out > 1 ? double(in - 1) / double(out - 1) : 0)
                      : scale > 0     ? 1 / scale
                                      : double(in) / double(out);
  auto put = [&](double at, double weight) { w[size_t(std::clamp(at, 0.0, double(in - 1)))] += weight; };
  double const middle = step * (double(i) + 0.5), at = o.align_corners ? step * double(i) : middle - 0.5;
  bool const cubic = o.mode == Interpolation::bicubic;
  if (o.antialias) {
    double const wide = std::max(step, 1.0), reach = (cubic ? 2 : 1) * wide;
    double total = 0;
    for (int64_t j = 0; j < in; ++j) {
      double const t = (double(j) + 0.5 - middle) / wide;
      bool const read = double(j) + 0.5 > middle - reach && double(j) + 0.5 <= middle + reach;
      w[size_t(j)] = !read ? 0 : cubic ? keys(t, -0.5) : std::max(0.0, 1 - std::abs(t));
      total += w[size_t(j)];
    }
    for (double& v : w) v /= total;
  } else if (o.mode == Interpolation::nearest) {
    put(std::floor(double(i) * step), 1);
  } else if (o.mode == Interpolation::nearest_exact) {
    put(std::floor(middle), 1);
  } else if (o.mode == Interpolation::linear) {
    double const low = std::floor(std::clamp(at, 0.0, double(in - 1))), t = std::clamp(at, 0.0, double(in - 1)) - low;
    put(low, 1 - t), put(low + 1, t);
  } else if (cubic) {
    for (int k = -1; k < 3; ++k) put(std::floor(at) + k, keys(at - std::floor(at) - k, -0.75));
  } else {
    int64_t const first = i * in / out, last = ((i + 1) * in + out - 1) / out;
    for (int64_t j = first; j < last; ++j) put(double(j), 1 / double(last - first));
  }
  return w;
}

/// The full matrix of each axis.
Tensor interpolate_loops(Tensor const& x, InterpolateOptions const& o) {
  Tensor y = x.detach();
  for (int axis = 2; axis < x.rank(); ++axis) {
    auto const at = size_t(axis - 2);
    double const scale = o.scale_factor.empty() ? 0 : o.scale_factor[o.scale_factor.size() == 1 ? 0 : at];
    int64_t const in = x.size(axis);
    int64_t const out = scale > 0 ? int64_t(double(in) * scale) : o.size[o.size.rank() == 1 ? 0 : int(at)];
    std::vector<double> matrix;
    for (int64_t i = 0; i < out; ++i)
      for (double w : weights_of(i, in, out, o, o.recompute_scale_factor ? 0 : scale)) matrix.push_back(w);
    y = matmul(y.transpose(axis, -1), tensor(matrix, {out, in}).t()).transpose(axis, -1);
  }
  return y;
}

/// Where grid coordinate u lies on an axis; reflected by walking.
double place(double u, int64_t size, GridSampleOptions const& o) {
  double const n = double(size);
  return o.align_corners ? (u + 1) / 2 * (n - 1) : ((u + 1) * n - 1) / 2;
}
double bound(double u, int64_t size, GridSampleOptions const& o) {
  double const n = double(size), low = o.align_corners ? 0 : -0.5, high = o.align_corners ? n - 1 : n - 0.5;
  if (o.padding == GridPadding::reflection && size > 1)
    while (u < low || u > high) u = u < low ? 2 * low - u : 2 * high - u;
  return o.padding == GridPadding::zeros ? u : std::clamp(u, 0.0, n - 1);
}

Tensor grid_sample_loops(Tensor const& x, Tensor const& grid, GridSampleOptions const& o) {
  int const axes = x.rank() - 2;
  int64_t const channels = x.size(1);
  int64_t points = 1, plane = 1, in[3] = {1, 1, 1};
  Shape shape{x.size(0), channels};
  for (int a = 0; a < axes; ++a) {
    shape.push_back(grid.size(a + 1)), points *= grid.size(a + 1);
    in[3 - axes + a] = x.size(a + 2), plane *= x.size(a + 2);
  }
  auto const v = x.detach().to_vector<double>(), g = grid.detach().to_vector<double>();
  bool const cubic = o.mode == Interpolation::bicubic;
  std::vector<double> y;
  for (int64_t b = 0; b < x.size(0); ++b)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t p = 0; p < points; ++p) {
        // (element or −1, weight) of each axis
        std::vector<std::pair<int64_t, double>> taps[3] = {{{0, 1}}, {{0, 1}}, {{0, 1}}};
        for (int a = 0; a < axes; ++a) {
          int const axis = 2 - a;
          int64_t const n = in[axis];
          double u = place(g[size_t((b * points + p) * axes + a)], n, o);
          if (!cubic) u = bound(u, n, o);
          taps[axis].clear();
          auto put = [&](double at, double w) {
            if (cubic) at = bound(at, n, o);
            taps[axis].push_back({at >= 0 && at < double(n) ? int64_t(at) : -1, w});
          };
          double const low = std::floor(u), t = u - low;
          if (o.mode == Interpolation::nearest)
            put(std::nearbyint(u), 1);
          else if (cubic)
            for (int k = -1; k < 3; ++k) put(low + k, keys(t - k, -0.75));
          else
            put(low, 1 - t), put(low + 1, t);
        }
        double sum = 0;
        for (auto [i, u] : taps[0])
          for (auto [j, w] : taps[1])
            for (auto [k, z] : taps[2])
              if (i >= 0 && j >= 0 && k >= 0)
                sum += u * w * z * v[size_t((b * channels + c) * plane + (i * in[1] + j) * in[2] + k)];
        y.push_back(sum);
      }
  return tensor(y, shape);
}

/// theta·(x, y, .., 1) at every point.
Tensor affine_grid_loops(Tensor const& theta, Shape const& size, bool align_corners) {
  int const axes = size.rank() - 2;
  Shape shape{size[0]};
  for (int a = 0; a < axes; ++a) shape.push_back(size[a + 2]);
  shape.push_back(axes);
  auto const t = theta.detach().to_vector<double>();
  std::vector<double> y(size_t(numel(shape)));
  for (size_t i = 0; i < y.size(); ++i) {
    size_t point = i / size_t(axes), row = i % size_t(axes);
    std::vector<double> at;
    for (int a = axes - 1; a >= 0; --a) {
      double const n = double(size[a + 2]), k = double(point % size_t(size[a + 2]));
      at.push_back(align_corners ? (n > 1 ? 2 * k / (n - 1) - 1 : 0) : (2 * k + 1) / n - 1);
      point /= size_t(size[a + 2]);
    }
    at.push_back(1);
    for (size_t c = 0; c < at.size(); ++c) y[i] += t[(point * size_t(axes) + row) * at.size() + c] * at[c];
  }
  return tensor(y, shape);
}

/// f(element of x, element of the columns) for every place a window reads.
void each_column(int64_t batch, int64_t channels, Dims const& size, FoldOptions const& o,
                 std::function<void(size_t, size_t)> const& f) {
  auto value = [](Spatial const& s, int a) { return s[s.rank() == 1 ? 0 : a]; };
  int64_t out[2];
  for (int a = 0; a < 2; ++a)
    out[a] =
        (size[a] + 2 * value(o.padding, a) - value(o.dilation, a) * (value(o.kernel, a) - 1) - 1) / value(o.stride, a) +
        1;
  size_t column = 0;
  for (int64_t bc = 0; bc < batch * channels; ++bc)
    for (int64_t ty = 0; ty < value(o.kernel, 0); ++ty)
      for (int64_t tx = 0; tx < value(o.kernel, 1); ++tx)
        for (int64_t oy = 0; oy < out[0]; ++oy)
          for (int64_t ox = 0; ox < out[1]; ++ox, ++column) {
            int64_t const y = oy * value(o.stride, 0) + ty * value(o.dilation, 0) - value(o.padding, 0);
            int64_t const x = ox * value(o.stride, 1) + tx * value(o.dilation, 1) - value(o.padding, 1);
            if (y >= 0 && y < size[0] && x >= 0 && x < size[1]) f(size_t((bc * size[0] + y) * size[1] + x), column);
          }
}

std::vector<OpCase> cases() {
  std::vector<OpCase> all;
  auto add = [&](std::string const& op, std::string const& what, std::vector<Input> in, std::vector<Shapes> shapes,
                 std::function<Tensor(Tensors const&)> f, std::function<Tensor(Tensors const&)> twin) -> OpCase& {
    OpCase& c = all.emplace_back(OpCase{.name = op + what,
                                        .covers = op,
                                        .inputs = std::move(in),
                                        .shapes = std::move(shapes),
                                        .op = [=](Tensors const& x) { return Tensors{f(x)}; },
                                        .twin = [=](Tensors const& x) { return Tensors{twin(x)}; }});
    return c;
  };
  std::vector<Shapes> const one{{{2, 2, 5}}, {{1, 1, 9}}, {{0, 2, 4}}}, two{{{1, 2, 5, 4}}, {{2, 1, 3, 9}}},
      three{{{1, 1, 3, 4, 2}}};
  auto interpolation = [&](std::string const& what, std::vector<Shapes> const& shapes, InterpolateOptions o) {
    OpCase& c = add(
        "interpolate", " " + what, {real()}, shapes, [=](Tensors const& x) { return interpolate(x[0], o); },
        [=](Tensors const& x) { return interpolate_loops(x[0], o); });
    c.f32 = 3e-6, c.f64 = 1e-12;
  };
  using enum Interpolation;
  interpolation("nearest", one, {.size = 7});
  interpolation("nearest by factors", two, {.scale_factor = {1.7, 0.6}});
  interpolation("nearest, recomputed", two, {.scale_factor = {1.7}, .recompute_scale_factor = true});
  interpolation("nearest, three", three, {.size = {4, 3, 5}});
  interpolation("nearest-exact", one, {.size = 7, .mode = nearest_exact});
  interpolation("nearest-exact, fewer", two, {.size = {2, 3}, .mode = nearest_exact});
  interpolation("area", two, {.size = {3, 5}, .mode = area});
  interpolation("area, one", one, {.size = 3, .mode = area});
  interpolation("area, three", three, {.size = {2, 2, 3}, .mode = area});
  for (bool align : {false, true}) {
    std::string const tail = align ? ", aligned" : "";
    interpolation("linear" + tail, one, {.size = 8, .mode = linear, .align_corners = align});
    interpolation("bilinear" + tail, two, {.size = {3, 7}, .mode = linear, .align_corners = align});
    interpolation("bilinear by a factor" + tail, two, {.scale_factor = {1.7}, .mode = linear, .align_corners = align});
    interpolation("trilinear" + tail, three, {.size = {5, 3, 1}, .mode = linear, .align_corners = align});
    interpolation("bicubic" + tail, two, {.size = {7, 3}, .mode = bicubic, .align_corners = align});
    interpolation("bilinear, antialiased" + tail, two,
                  {.size = {2, 7}, .mode = linear, .align_corners = align, .antialias = true});
    interpolation("bicubic, antialiased" + tail, two,
                  {.size = {2, 3}, .mode = bicubic, .align_corners = align, .antialias = true});
  }
  for (auto mode : {linear, nearest, bicubic})
    for (auto padding : {GridPadding::zeros, GridPadding::border, GridPadding::reflection})
      for (bool align : {false, true}) {
        GridSampleOptions const o{mode, padding, align};
        std::string const what = fmt::format(" {}{}{}", int(mode), int(padding), align ? " aligned" : "");
        std::vector<Shapes> shapes{{{1, 2, 3, 3}, {1, 2, 2, 2}}, {{2, 1, 4, 3}, {2, 3, 2, 2}}};
        if (mode != bicubic) shapes.push_back({{1, 2, 3, 2, 3}, {1, 1, 3, 2, 3}});
        // Kinks lie where a coordinate meets an element, or the border: twelfths cover sizes 2 to 4.
        Input grid = real(-1.4, 1.4, {});
        for (int k = -24; k <= 24; ++k) grid.avoid.push_back(k / 12.0);
        grid.margin = 2e-3;
        OpCase& c = add(
            "grid_sample", what, {real(), grid}, shapes, [=](Tensors const& x) { return grid_sample(x[0], x[1], o); },
            [=](Tensors const& x) { return grid_sample_loops(x[0], x[1], o); });
        c.f32 = 3e-5, c.f64 = 1e-12, c.gradient_f32 = 3e-4;
      }
  for (bool align : {false, true}) {
    std::string const tail = align ? ", aligned" : "";
    Shape const flat{2, 1, 3, 4}, solid{1, 1, 2, 1, 3};
    add(
        "affine_grid", tail, {real()}, {{{2, 2, 3}}}, [=](Tensors const& x) { return affine_grid(x[0], flat, align); },
        [=](Tensors const& x) { return affine_grid_loops(x[0], flat, align); });
    add(
        "affine_grid", ", three" + tail, {real()}, {{{1, 3, 4}}},
        [=](Tensors const& x) { return affine_grid(x[0], solid, align); },
        [=](Tensors const& x) { return affine_grid_loops(x[0], solid, align); });
  }
  FoldOptions const windows[] = {
      {.kernel = 2}, {{2, 3}, {2, 1}, {1, 2}, {1, 2}}, {.kernel = 3, .padding = 1, .stride = 2}};
  for (FoldOptions const& o : windows) {
    std::string const what = fmt::format(" {}", &o - windows);
    Dims const size{5, 4};
    auto columns = [=](int64_t batch, int64_t channels) {
      return im2col(ones({batch, channels, size[0], size[1]}), o).shape();
    };
    add(
        "im2col", what, {real()}, {{{1, 2, 5, 4}}, {{2, 1, 5, 4}}, {{0, 1, 5, 4}}},
        [=](Tensors const& x) { return im2col(x[0], o); },
        [=](Tensors const& x) {
          auto const v = x[0].detach().to_vector<double>();
          std::vector<double> y(size_t(numel(columns(x[0].size(0), x[0].size(1)))));
          each_column(x[0].size(0), x[0].size(1), size, o, [&](size_t i, size_t column) { y[column] = v[i]; });
          return tensor(y, columns(x[0].size(0), x[0].size(1)));
        });
    add(
        "fold", what, {real()}, {{columns(1, 2)}, {columns(2, 1)}},
        [=](Tensors const& x) { return fold(x[0], size, o); },
        [=](Tensors const& x) {
          auto const v = x[0].detach().to_vector<double>();
          int64_t const batch = x[0].size(0), channels = 3 - batch;
          std::vector<double> y(size_t(batch * channels * size[0] * size[1]));
          each_column(batch, channels, size, o, [&](size_t i, size_t column) { y[i] += v[column]; });
          return tensor(y, {batch, channels, size[0], size[1]});
        });
  }
  // Element (c, y, x) of the large image is element (c·4 + y % 2·2 + x % 2, y / 2, x / 2) of the small one.
  auto shuffle = [](Tensor const& x, bool unshuffle) {
    int64_t const c = unshuffle ? x.size(-3) : x.size(-3) / 4, h = unshuffle ? x.size(-2) : x.size(-2) * 2;
    int64_t const w = unshuffle ? x.size(-1) : x.size(-1) * 2,
                  images = c ? x.numel() / std::max(c * h * w, int64_t{1}) : 0;
    auto const v = x.detach().to_vector<double>();
    std::vector<double> result(v.size());
    for (int64_t i = 0; i < images * c * h * w; ++i) {
      int64_t const column = i % w, row = i / w % h, plane = i / w / h;
      int64_t const small = ((plane * 4 + row % 2 * 2 + column % 2) * (h / 2) + row / 2) * (w / 2) + column / 2;
      result[size_t(unshuffle ? small : i)] = v[size_t(unshuffle ? i : small)];
    }
    Shape shape = x.shape();
    int const n = shape.rank();
    shape[n - 3] = unshuffle ? c * 4 : c, shape[n - 2] = unshuffle ? h / 2 : h, shape[n - 1] = unshuffle ? w / 2 : w;
    return tensor(result, shape);
  };
  add(
      "pixel_shuffle", "", {real()}, {{{8, 2, 3}}, {{2, 4, 1, 2}}, {{2, 1, 4, 2, 2}}, {{1, 4, 0, 2}}},
      [](Tensors const& x) { return pixel_shuffle(x[0], 2); }, [=](Tensors const& x) { return shuffle(x[0], false); });
  add(
      "pixel_unshuffle", "", {real()}, {{{2, 4, 6}}, {{2, 1, 2, 4}}, {{2, 1, 1, 4, 4}}, {{1, 1, 0, 2}}},
      [](Tensors const& x) { return pixel_unshuffle(x[0], 2); }, [=](Tensors const& x) { return shuffle(x[0], true); });
  add(
      "channel_shuffle", "", {real()}, {{{2, 6, 3}}, {{1, 3, 2, 2}}, {{0, 3, 2}}},
      [](Tensors const& x) { return channel_shuffle(x[0], 3); },
      [](Tensors const& x) {
        std::vector<Tensor> channels;
        int64_t const each = x[0].size(1) / 3;
        for (int64_t c = 0; c < x[0].size(1); ++c) channels.push_back(x[0].detach().select(1, c % 3 * each + c / 3));
        return stack(channels, 1);
      });
  Tensor const image = ones({1, 1, 4, 4});
  all[0].bad = {
      {[=] { interpolate(image, {}); }, {"interpolate", "size or scale_factor"}},
      {[=] { interpolate(image, {.size = 2, .scale_factor = {2}}); }, {"interpolate", "size or scale_factor"}},
      {[=] { interpolate(image, {.scale_factor = {0.1}}); }, {"interpolate", "0.1", "axis 2"}},
      {[=] {
         interpolate(image, {.scale_factor = {2, 2, 2}});
       },
       {"interpolate", "got 3"}},
      {[=] { interpolate(image, {.size = 0}); }, {"interpolate", "size", "0"}},
      {[=] { interpolate(image, {.size = 2, .align_corners = true}); }, {"interpolate", "align_corners"}},
      {[] {
         interpolate(ones({1, 1, 4}), {.size = 2, .mode = bicubic});
       },
       {"interpolate", "two spatial axes"}},
      {[=] { interpolate(image.to(Dtype::i64), {.size = 2}); }, {"interpolate", "i64"}},
      {[] {
         interpolate(ones({4, 4}), {.size = 2});
       },
       {"interpolate", "[4, 4]"}},
      {[=] {
         grid_sample(image, ones({1, 2, 2, 3}));
       },
       {"grid_sample", "[1, 2, 2, 3]"}},
      {[=] {
         grid_sample(image, ones({2, 2, 2, 2}));
       },
       {"grid_sample", "[2, 2, 2, 2]"}},
      {[=] {
         grid_sample(image, ones({1, 2, 2, 2}, Dtype::f64));
       },
       {"grid_sample", "f64"}},
      {[=] {
         grid_sample(image, ones({1, 2, 2, 2}), {.mode = area});
       },
       {"grid_sample", "mode"}},
      {[] {
         affine_grid(ones({1, 2, 2}), {1, 1, 2, 2});
       },
       {"affine_grid", "[1, 2, 2]"}},
      {[] {
         affine_grid(ones({1, 2, 3}), {1, 1, 0, 2});
       },
       {"affine_grid", "empty"}},
      {[=] { im2col(image, {.kernel = 5}); }, {"im2col", "spans 5"}},
      {[=] {
         im2col(image, {.kernel = {1, 1, 1}});
       },
       {"im2col", "kernel"}},
      {[] {
         fold(ones({1, 5, 9}), 4, {.kernel = 2});
       },
       {"fold", "[1, 5, 9]"}},
      {[] {
         fold(ones({1, 4, 8}), 4, {.kernel = 2});
       },
       {"fold", "9", "[1, 4, 8]"}},
      {[] {
         pixel_shuffle(ones({3, 2, 2}), 2);
       },
       {"pixel_shuffle", "3 channels"}},
      {[] {
         pixel_shuffle(ones({4, 2}), 2);
       },
       {"pixel_shuffle", "[4, 2]"}},
      {[] {
         pixel_unshuffle(ones({1, 3, 2}), 2);
       },
       {"pixel_unshuffle", "[1, 3, 2]"}},
      {[] {
         pixel_unshuffle(ones({1, 4, 2}), 0);
       },
       {"pixel_unshuffle", "0"}},
      {[] {
         channel_shuffle(ones({1, 4, 2}), 3);
       },
       {"channel_shuffle", "4", "3"}},
      {[] {
         channel_shuffle(ones({4, 2}), 2);
       },
       {"channel_shuffle", "[4, 2]"}}};
  return all;
}

OpSuite const& suite() {
  static OpSuite const all{.sections = {"resampling"}, .cases = cases()};
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("bytes: nearest moves them, linear rounds after each axis as PyTorch does") {
  std::vector<uint8_t> values;
  for (int i = 0; i < 16; ++i) values.push_back(uint8_t(i * 37));
  Tensor const x = tensor(values, {1, 1, 4, 4});
  CHECK(interpolate(x, {.size = {1, 8}}).to_vector<int>() == std::vector<int>{0, 0, 37, 37, 74, 74, 111, 111});
  Tensor const y = interpolate(x, {.size = {4, 2}, .mode = Interpolation::linear});
  CHECK(y.dtype() == Dtype::u8);
  CHECK(y.slice(2, 0, 1).to_vector<int>() == std::vector<int>{19, 93});
}

TEST_CASE("grid_sample: NaN reads the border, and nothing without one; the nearest element has no slope") {
  Tensor const x = tensor({{1, 2}, {3, 4}}).reshape({1, 1, 2, 2}), at = full({1, 1, 1, 2}, nan_);
  CHECK(grid_sample(x, at, {.padding = GridPadding::border}).item() == 1);
  CHECK(std::isnan(grid_sample(x, at).item()));
  Tensor grid = zeros({1, 1, 1, 2}).requires_grad_();
  grid_sample(x, grid, {.mode = Interpolation::nearest}).backward(ones({1, 1, 1, 1}));
  CHECK(same_bits(grid.grad(), zeros({1, 1, 1, 2})));
}

TEST_CASE("bools and 16-bit types as windows") {
  Tensor const x = tensor({{1, 0, 1}, {0, 0, 0}, {1, 0, 1}}).reshape({1, 1, 3, 3});
  FoldOptions const o{.kernel = 2};
  Tensor const columns = im2col(x.to(Dtype::boolean), o);
  CHECK(same_bits(columns, im2col(x, o).to(Dtype::boolean)));
  CHECK(same_bits(fold(columns, 3, o), x.to(Dtype::boolean)));
  CHECK(same_bits(im2col(x.to(Dtype::bf16), o), im2col(x, o).to(Dtype::bf16)));
  InterpolateOptions const to{.size = 5, .mode = Interpolation::linear};
  CHECK(same_bits(interpolate(x.to(Dtype::f16), to), interpolate(x, to).to(Dtype::f16)));
}
