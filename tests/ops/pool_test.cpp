// Pooling.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

/// Options of every kind of pooling; every value for each axis. kernel 0: adaptive, to `out`.
struct Pool {
  int64_t kernel = 2, stride = 2, padding = 0, dilation = 1;
  bool ceil_mode = false, count_include_pad = true;
  int64_t divisor = 0, out = 0;
};

/// One axis of a window: its elements, and how many places it covers with padding.
struct Span {
  std::vector<int64_t> at;
  int64_t covers = 0;
};

std::vector<Span> spans(int64_t in, Pool const& p) {
  std::vector<Span> all;
  for (int64_t i = 0; p.kernel == 0 && i < p.out; ++i) {
    all.emplace_back();
    for (int64_t j = 0; j < in; ++j)
      if ((j + 1) * p.out > i * in && j * p.out < (i + 1) * in) all.back().at.push_back(j);
    all.back().covers = int64_t(all.back().at.size());
  }
  for (int64_t start = -p.padding; p.kernel > 0; start += p.stride) {
    int64_t const end = start + p.dilation * (p.kernel - 1);
    bool const fits = end < in + p.padding, begins = start < in;
    if (!fits && !(p.ceil_mode && begins && end - p.stride < in + p.padding - 1)) break;
    all.emplace_back();
    for (int64_t j = start; j <= end; j += p.dilation) {
      if (j >= 0 && j < in) all.back().at.push_back(j);
      all.back().covers += j < in + p.padding;
    }
  }
  return all;
}

/// f(elements, their places in the channel, covered) → number for each window of each channel.
template <class F>
Tensor over_windows(int axes, Tensor const& x, Pool const& p, F f) {
  std::vector<Span> axis[3] = {{{{0}, 1}}, {{{0}, 1}}, {{{0}, 1}}};
  int64_t in[3] = {1, 1, 1}, planes = 1;
  Shape shape = x.shape();
  for (int a = 3 - axes; a < 3; ++a) {
    in[a] = x.size(a - 3);
    axis[a] = spans(in[a], p);
    shape[x.rank() + a - 3] = int64_t(axis[a].size());
  }
  for (int a = 0; a < x.rank() - axes; ++a) planes *= x.size(a);
  auto const v = x.detach().to_vector<double>();
  std::vector<double> y;
  for (int64_t plane = 0; plane < planes; ++plane)
    for (Span const& z : axis[0])
      for (Span const& r : axis[1])
        for (Span const& c : axis[2]) {
          std::vector<double> elements;
          std::vector<int64_t> places;
          for (int64_t i : z.at)
            for (int64_t j : r.at)
              for (int64_t k : c.at) {
                places.push_back((i * in[1] + j) * in[2] + k);
                elements.push_back(v[size_t(plane * in[0] * in[1] * in[2] + places.back())]);
              }
          y.push_back(f(elements, places, z.covers * r.covers * c.covers));
        }
  return tensor(y, shape);
}

using Elements = std::vector<double> const&;
using Places = std::vector<int64_t> const&;

double mean_of(Elements e, int64_t n) {
  double sum = 0;
  for (double v : e) sum += v;
  return sum / double(n);
}

std::string named(char const* op, int axes) { return op + std::to_string(axes) + "d"; }

#define HEED_BY_AXES(call, axes, ...) \
  (axes == 1 ? call##1d(__VA_ARGS__) : axes == 2 ? call##2d(__VA_ARGS__) : call##3d(__VA_ARGS__))
#define HEED_BY_AXES_INDICES(call, axes, ...)       \
  (axes == 1   ? call##1d_with_indices(__VA_ARGS__) \
   : axes == 2 ? call##2d_with_indices(__VA_ARGS__) \
               : call##3d_with_indices(__VA_ARGS__))

std::vector<Shapes> shapes_of(int axes) {
  if (axes == 1) return {{{2, 2, 7}}, {{3, 8}}, {{0, 2, 5}}, {{1, 1, 70}}};
  if (axes == 2) return {{{1, 2, 5, 4}}, {{2, 4, 7}}, {{0, 2, 4, 4}}, {{2, 3, 9, 17}}};
  return {{{1, 1, 4, 3, 5}}, {{2, 4, 5, 3}}, {{0, 1, 4, 4, 4}}};
}

std::vector<OpCase> cases() {
  std::vector<OpCase> all;
  auto add = [&](std::string const& op, std::string const& what, int axes, Input in, Function f, Function twin) {
    all.push_back({.name = op + what,
                   .covers = op,
                   .inputs = {std::move(in)},
                   .shapes = shapes_of(axes),
                   .op = std::move(f),
                   .twin = std::move(twin)});
  };
  Pool const sliding[] = {{}, {3, 2, 1, 1}, {3, 2, 1, 1, true, false}, {2, 1, 1, 1, true, true, 3}, {2, 2, 0, 1, true}};
  for (int axes : {1, 2, 3}) {
    for (Pool const& p : sliding) {
      std::string const what = fmt::format(" {}", &p - sliding);
      AvgPoolOptions const o{p.stride, p.padding, p.ceil_mode, p.count_include_pad, p.divisor};
      add(
          named("avg_pool", axes), what, axes, real(),
          [=](Tensors const& x) { return Tensors{HEED_BY_AXES(avg_pool, axes, x[0], p.kernel, o)}; },
          [=](Tensors const& x) {
            return Tensors{over_windows(axes, x[0], p, [&](Elements e, Places, int64_t covers) {
              return mean_of(e, p.divisor ? p.divisor : p.count_include_pad ? covers : int64_t(e.size()));
            })};
          });
    }
    for (Pool const& p : {Pool{}, Pool{3, 1, 1, 1}, Pool{2, 2, 1, 2, true}}) {
      std::string const what = fmt::format(" {}{}", p.kernel, p.dilation);
      MaxPoolOptions const o{p.stride, p.padding, p.dilation, p.ceil_mode};
      add(
          named("max_pool", axes), what, axes, distinct(),
          [=](Tensors const& x) { return Tensors{HEED_BY_AXES(max_pool, axes, x[0], p.kernel, o)}; },
          [=](Tensors const& x) {
            return Tensors{over_windows(
                axes, x[0], p, [](Elements e, Places, int64_t) { return *std::max_element(e.begin(), e.end()); })};
          });
      add(
          named("max_pool", axes) + "_with_indices", what, axes, distinct(),
          [=](Tensors const& x) {
            auto const [y, index] = HEED_BY_AXES_INDICES(max_pool, axes, x[0], p.kernel, o);
            return Tensors{y, index};
          },
          [=](Tensors const& x) {
            return Tensors{
                over_windows(axes, x[0], p,
                             [](Elements e, Places, int64_t) { return *std::max_element(e.begin(), e.end()); }),
                over_windows(axes, x[0], p, [](Elements e, Places at, int64_t) {
                  return double(at[size_t(std::max_element(e.begin(), e.end()) - e.begin())]);
                }).to(Dtype::i64)};
          });
    }
    for (int64_t out : {1, 3, 6}) {
      Pool const p{.kernel = 0, .out = out};
      std::string const what = " to " + std::to_string(out);
      add(
          named("adaptive_avg_pool", axes), what, axes, real(),
          [=](Tensors const& x) { return Tensors{HEED_BY_AXES(adaptive_avg_pool, axes, x[0], out)}; },
          [=](Tensors const& x) {
            return Tensors{over_windows(axes, x[0], p, [](Elements e, Places, int64_t n) { return mean_of(e, n); })};
          });
      add(
          named("adaptive_max_pool", axes), what, axes, distinct(),
          [=](Tensors const& x) { return Tensors{HEED_BY_AXES(adaptive_max_pool, axes, x[0], out)}; },
          [=](Tensors const& x) {
            return Tensors{over_windows(
                axes, x[0], p, [](Elements e, Places, int64_t) { return *std::max_element(e.begin(), e.end()); })};
          });
      add(
          named("adaptive_max_pool", axes) + "_with_indices", what, axes, distinct(),
          [=](Tensors const& x) {
            auto const [y, index] = HEED_BY_AXES_INDICES(adaptive_max_pool, axes, x[0], out);
            return Tensors{y, index};
          },
          [=](Tensors const& x) {
            return Tensors{
                over_windows(axes, x[0], p,
                             [](Elements e, Places, int64_t) { return *std::max_element(e.begin(), e.end()); }),
                over_windows(axes, x[0], p, [](Elements e, Places at, int64_t) {
                  return double(at[size_t(std::max_element(e.begin(), e.end()) - e.begin())]);
                }).to(Dtype::i64)};
          });
    }
    for (double power : {2.0, 3.0}) {
      Pool const p{2, 1};
      LpPoolOptions const o{.stride = 1};
      add(
          named("lp_pool", axes), fmt::format(" {}", int(power)), axes, real(0.5, 2),
          [=](Tensors const& x) { return Tensors{HEED_BY_AXES(lp_pool, axes, x[0], power, 2, o)}; },
          [=](Tensors const& x) {
            return Tensors{over_windows(axes, x[0], p, [=](Elements e, Places, int64_t) {
              double sum = 0;
              for (double v : e) sum += std::pow(v, power);
              return std::pow(sum, 1 / power);
            })};
          });
    }
    // What a maximum came from gets it back: an index for each window, none twice.
    add(
        named("max_unpool", axes), "", axes, real(),
        [=](Tensors const& x) {
          Tensor const wide = arange(x[0].numel() << axes).to(Dtype::f64);
          Shape shape = x[0].shape();
          for (int a = 0; a < axes; ++a) shape[x[0].rank() - 1 - a] *= 2;
          auto const index = HEED_BY_AXES_INDICES(max_pool, axes, wide.reshape(shape), 2).second;
          return Tensors{HEED_BY_AXES(max_unpool, axes, x[0], index.to(x[0].device()), 2)};
        },
        [=](Tensors const& x) {
          Shape shape = x[0].shape();
          for (int a = 0; a < axes; ++a) shape[x[0].rank() - 1 - a] *= 2;
          auto const v = x[0].detach().to_vector<double>();
          std::vector<double> y(size_t(numel(shape)));
          for (size_t i = 0; i < y.size(); ++i) {  // the last corner of each window is the largest
            size_t rest = i, from = 0, stride = 1;
            bool corner = true;
            for (int a = shape.rank() - 1; a >= 0; --a) {
              size_t const at = rest % size_t(shape[a]);
              rest /= size_t(shape[a]);
              bool const spatial = a >= shape.rank() - axes;
              corner &= !spatial || at % 2 == 1;
              from += (spatial ? at / 2 : at) * stride;
              stride *= size_t(x[0].shape()[a]);
            }
            if (corner) y[i] = v[from];
          }
          return Tensors{tensor(y, shape)};
        });
  }
  for (OpCase& c : all)
    if (c.name == "max_pool2d 21")
      c.bad = {{[] {
                  max_pool2d(ones({1, 1, 4, 4}), 2, {.padding = 2});
                },
                {"max_pool2d", "padding 2", "spans 2"}},
               {[] {
                  max_pool2d(ones({1, 1, 1, 4}), 2);
                },
                {"max_pool2d", "spans 2", "[1, 1, 1, 4]"}},
               {[] {
                  max_pool2d(ones({1, 0, 4, 4}), 2);
                },
                {"max_pool2d", "axis 1"}},
               {[] {
                  max_pool2d(ones({4, 4}), 2);
                },
                {"max_pool2d", "[4, 4]"}},
               {[] {
                  max_pool2d(ones({1, 1, 4, 4}), 0);
                },
                {"max_pool2d", "kernel"}},
               {[] {
                  max_pool2d(ones({1, 1, 4, 4}).to(Dtype::boolean), 2);
                },
                {"max_pool2d", "bool"}},
               {[] {
                  avg_pool1d(ones({1, 1, 4}).to(Dtype::i32), 2);
                },
                {"avg_pool1d", "i32"}},
               {[] {
                  avg_pool2d(ones({1, 1, 4, 4}), {2, 2, 2});
                },
                {"avg_pool2d", "[2, 2, 2]"}},
               {[] {
                  adaptive_avg_pool2d(ones({1, 1, 0, 4}), 2);
                },
                {"adaptive_avg_pool2d", "axis 2"}},
               {[] {
                  adaptive_max_pool1d(ones({1, 1, 4}).to(Dtype::i64), 2);
                },
                {"adaptive_max_pool1d", "i64"}},
               {[] {
                  lp_pool1d(ones({1, 1, 4}), 0, 2);
                },
                {"lp_pool1d", "0-norm"}},
               {[] {
                  max_unpool1d(ones({1, 1, 2}), arange(2), 2);
                },
                {"max_unpool1d", "[1, 1, 2]", "[2]"}},
               {[] {
                  max_unpool1d(ones({1, 1, 2}), arange(2).reshape({1, 1, 2}) * 4, 2);
                },
                {"index 4", "0 to 3"}},
               {[] {
                  max_unpool1d(ones({1, 1, 2}), arange(2).reshape({1, 1, 2}), 2, {.output_size = 6});
                },
                {"max_unpool1d", "output_size 6"}}};
  return all;
}

OpSuite const& suite() {
  static OpSuite const all{.sections = {"pooling"}, .cases = cases()};
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("max_pool: the last NaN of a window wins, the first of equals, −∞ over padding; integers and 16 bits") {
  Tensor const x = tensor(std::vector<float>{1, float(nan_), 3, 3, 2, 3, -float(inf), -float(inf)}, {1, 8});
  auto const [y, index] = max_pool1d_with_indices(x, 2);
  CHECK(std::isnan(y.at(0, 0).item()));
  CHECK(index.to_vector<int64_t>() == std::vector<int64_t>{1, 2, 5, 6});
  CHECK(y.at(0, 3).item() == -inf);
  CHECK(max_pool1d_with_indices(tensor({{2, 2, 2, 2}}), 3, {.stride = 1, .padding = 1}).second.to_vector<int64_t>() ==
        std::vector<int64_t>{0, 0, 1, 2});
  Tensor one = ones({1, 1, 1}).requires_grad_();  // every tap steps over it
  auto const [missed, nowhere] = max_pool1d_with_indices(one, 2, {.padding = 1, .dilation = 2});
  CHECK(missed.item() == -inf);
  CHECK(nowhere.item<int64_t>() == -1);
  missed.backward(ones({1, 1, 1}));
  CHECK(one.grad().item() == 0);
  Tensor const whole = tensor(std::vector<int64_t>{-5, -7, 3, -9}, {1, 2, 2});
  CHECK(max_pool2d(whole, 2).to_vector<int64_t>() == std::vector<int64_t>{3});
  for (Dtype half : {Dtype::f16, Dtype::bf16}) {
    auto const [small, at] = max_pool1d_with_indices(x.to(half), 2);
    CHECK(same_bits(small, y.to(half)));
    CHECK(same_bits(at, index));
  }
}

TEST_CASE("avg_pool of i64 divides towards zero; out = −1 keeps an axis; a root of nothing has gradient 0") {
  Tensor const x = tensor(std::vector<int64_t>{-3, -4, 7, 8}, {1, 4});
  CHECK(avg_pool1d(x, 2).to_vector<int64_t>() == std::vector<int64_t>{-3, 7});
  CHECK(to_string(adaptive_avg_pool2d(ones({1, 2, 4, 5}), {-1, 3}).shape()) == "[1, 2, 4, 3]");
  Tensor z = zeros({1, 1, 4}).requires_grad_();
  sum(lp_pool1d(z, 2, 2)).backward();
  CHECK(same_bits(z.grad(), zeros({1, 1, 4})));
}

TEST_CASE("max_unpool restores what was pooled, to an output size that several inputs share") {
  Tensor const x = tensor(std::vector<float>{1, 5, 2, 3, 9}, {1, 1, 5});
  auto const [y, index] = max_pool1d_with_indices(x, 2);
  CHECK(max_unpool1d(y, index, 2, {.output_size = 5}).to_vector() == std::vector<float>{0, 5, 0, 3, 0});
  CHECK(max_unpool1d(y, index, 2).to_vector() == std::vector<float>{0, 5, 0, 3});
}
