// Convolutions and their transposes.
#include <doctest/doctest.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/op_suite.h>

#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

/// The options of both directions; every value for each axis.
struct Geometry {
  int64_t stride = 1, padding = 0, output_padding = 0, dilation = 1, groups = 1;
  bool same = false;
};

/// Sizes of x [B, C, …], filled up to three spatial axes from the left.
struct Sizes {
  int64_t batch, channels, s[3] = {1, 1, 1};
  Sizes(Tensor const& x, int axes) : batch(x.rank() == axes + 2 ? x.size(0) : 1), channels(x.size(-axes - 1)) {
    for (int a = 0; a < axes; ++a) s[3 - axes + a] = x.size(a - axes);
  }
  int64_t at(int64_t b, int64_t c, int64_t z, int64_t y, int64_t x) const {
    return (((b * channels + c) * s[0] + z) * s[1] + y) * s[2] + x;
  }
  bool inside(int64_t z, int64_t y, int64_t x) const {
    return z >= 0 && z < s[0] && y >= 0 && y < s[1] && x >= 0 && x < s[2];
  }
};

/// The definition: every input element meets every tap; transposed, it writes where the other direction reads.
Tensor conv_loops(int axes, Tensor const& x, Tensor const& w, Tensor const& bias, Geometry g, bool transposed) {
  Sizes const from(x, axes), k(w, axes);
  Sizes to = from;
  int64_t step[3] = {1, 1, 1}, spread[3] = {1, 1, 1}, low[3] = {0, 0, 0};
  Shape shape = x.shape();
  to.channels = transposed ? w.size(1) * g.groups : w.size(0);
  shape[x.rank() - axes - 1] = to.channels;
  for (int a = 3 - axes; a < 3; ++a) {
    int64_t const reach = g.dilation * (k.s[a] - 1);
    step[a] = g.stride, spread[a] = g.dilation, low[a] = g.same ? reach / 2 : g.padding;
    to.s[a] = transposed ? (from.s[a] - 1) * g.stride - 2 * g.padding + reach + g.output_padding + 1
              : g.same   ? from.s[a]
                         : (from.s[a] + 2 * g.padding - reach - 1) / g.stride + 1;
    shape[x.rank() - 3 + a] = to.s[a];
  }
  Sizes const& wide = transposed ? to : from;  // the side that taps move over
  Sizes const& narrow = transposed ? from : to;
  auto const u = x.detach().to_vector<double>(), v = w.detach().to_vector<double>();
  std::vector<double> y(size_t(numel(shape)));
  int64_t const wide_group = wide.channels / g.groups, narrow_group = narrow.channels / g.groups;
  for (int64_t b = 0; b < from.batch; ++b)
    for (int64_t n = 0; n < narrow.channels; ++n)
      for (int64_t c = 0; c < wide_group; ++c)
        for (int64_t p = 0; p < narrow.s[0] * narrow.s[1] * narrow.s[2]; ++p)
          for (int64_t t = 0; t < k.s[0] * k.s[1] * k.s[2]; ++t) {
            int64_t const at[3] = {p / narrow.s[2] / narrow.s[1], p / narrow.s[2] % narrow.s[1], p % narrow.s[2]};
            int64_t const tap[3] = {t / k.s[2] / k.s[1], t / k.s[2] % k.s[1], t % k.s[2]};
            int64_t i[3];
            for (int a = 0; a < 3; ++a) i[a] = at[a] * step[a] + tap[a] * spread[a] - low[a];
            if (!wide.inside(i[0], i[1], i[2])) continue;
            int64_t const outer = wide.at(b, n / narrow_group * wide_group + c, i[0], i[1], i[2]);
            int64_t const inner = narrow.at(b, n, at[0], at[1], at[2]);
            double const weight = v[size_t(k.at(n, c, tap[0], tap[1], tap[2]))];
            if (transposed)
              y[size_t(outer)] += u[size_t(inner)] * weight;
            else
              y[size_t(inner)] += u[size_t(outer)] * weight;
          }
  if (bias.defined()) {
    auto const c = bias.detach().to_vector<double>();
    int64_t const positions = to.s[0] * to.s[1] * to.s[2];
    for (size_t i = 0; i < y.size(); ++i) y[i] += c[i / size_t(positions) % c.size()];
  }
  return tensor(y, shape);
}

Tensor run(int axes, bool transposed, Tensor const& x, Tensor const& w, Tensor const& bias, Geometry g) {
  ConvPadding padding(g.padding);
  if (g.same) padding = "same";
  ConvOptions const forward{g.stride, padding, g.dilation, g.groups};
  ConvTransposeOptions const back{g.stride, g.padding, g.output_padding, g.dilation, g.groups};
  if (!transposed)
    return axes == 1   ? conv1d(x, w, bias, forward)
           : axes == 2 ? conv2d(x, w, bias, forward)
                       : conv3d(x, w, bias, forward);
  return axes == 1   ? conv_transpose1d(x, w, bias, back)
         : axes == 2 ? conv_transpose2d(x, w, bias, back)
                     : conv_transpose3d(x, w, bias, back);
}

OpCase record(std::string const& what, int axes, bool transposed, Geometry g, std::vector<Shapes> shapes) {
  std::string const op = (transposed ? "conv_transpose" : "conv") + std::to_string(axes) + "d";
  bool const with_bias = shapes[0].size() == 3;
  OpCase c{
      .name = op + " " + what,
      .covers = op,
      .inputs = std::vector<Input>(shapes[0].size(), real()),
      .shapes = std::move(shapes),
      .op =
          [=](Tensors const& x) { return Tensors{run(axes, transposed, x[0], x[1], with_bias ? x[2] : Tensor(), g)}; },
      .twin =
          [=](Tensors const& x) {
            return Tensors{conv_loops(axes, x[0], x[1], with_bias ? x[2] : Tensor(), g, transposed)};
          }};
  c.f32 = 3e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
  return c;
}

std::vector<OpCase> cases() {
  std::vector<OpCase> all;
  auto add = [&](OpCase c) -> OpCase& { return all.emplace_back(std::move(c)); };
  for (bool t : {false, true}) {
    add(record("", 1, t, {},
               {{{2, 3, 7}, {3, 3, 3}, {3}},
                {{3, 5}, {3, 3, 2}, {3}},
                {{0, 2, 5}, {2, 2, 1}, {2}},
                {{1, 2, 70}, {2, 2, 9}, {2}},
                {{2, 1, 4}, {1, 1, 4}, {1}}}));
    add(record("spread in groups", 1, t, {2, 2, 1, 2, 2},
               {{{2, 4, 8}, {4, t ? 1 : 2, 3}, {t ? 2 : 4}}, {{1, 2, 33}, {2, t ? 3 : 1, 2}, {t ? 6 : 2}}}));
    OpCase& two = add(record("", 2, t, {1, 1},
                             {{{1, 2, 4, 3}, {2, 2, 3, 3}, {2}},
                              {{2, 3, 5, 9}, {3, 3, 2, 1}, {3}},
                              {{2, 3, 5}, {2, 2, 3, 3}, {2}},
                              {{0, 2, 3, 3}, {2, 2, 3, 3}, {2}},
                              {{2, 33, 9, 17}, {33, 33, 3, 3}, {33}}}));
    two.shapes[4][1] = t ? Shape{33, 5, 3, 3} : Shape{5, 33, 3, 3}, two.shapes[4][2] = {5};
    two.large = {{3, 20, 40, 31}, {20, 20, 3, 3}, {20}};
    add(record("one by one", 2, t, {}, {{{2, 3, 4, 3}, {3, 3, 1, 1}}, {{1, 4, 5, 9}, {4, 4, 1, 1}}}));
    add(record("one by one with bias", 2, t, {}, {{{2, 3, 4, 3}, {3, 3, 1, 1}, {3}}}));
    add(record("strided", 2, t, {3, 1, 2, 1},
               {{{1, 2, 7, 6}, {2, 2, 3, 2}}, {{2, 2, 4, 5}, {2, 2, 1, 1}}, {{1, 1, 9, 70}, {1, 1, 3, 3}}}));
    add(record("depthwise", 2, t, {1, 1, 0, 1, 3},
               {{{2, 3, 4, 5}, {3, 1, 3, 3}, {3}}, {{3, 6, 37}, {3, 1, 2, 3}, {3}}}));
    for (int64_t pad : {0, 2, 3})
      add(record(
          "depthwise, padded by " + std::to_string(pad), 2, t, {1, pad, 0, 1, 2},
          {{{2, 2, 6, 8}, {2, 1, 3, 3}, {2}}, {{1, 2, 5, 17}, {2, 1, 3, 3}, {2}}, {{9, 2, 7, 34}, {2, 1, 3, 3}, {2}}}));
    add(record("depthwise, strided and spread", 2, t, {2, 2, 1, 2, 3},
               {{{1, 3, 6, 5}, {3, 1, 3, 3}}, {{2, 3, 7, 41}, {3, 1, 2, 3}}}));
    add(record("depthwise with a multiplier", 2, t, {2, 0, 0, 1, 2},
               {{{1, 2, 5, 6}, {t ? 2 : 4, t ? 2 : 1, 3, 2}, {4}}}));
    add(record("", 3, t, {2, 1, 1, 1},
               {{{1, 2, 3, 4, 3}, {2, 2, 2, 3, 3}, {2}}, {{2, 2, 2, 3}, {2, 2, 3, 1, 2}, {2}}}));
    add(record("channels to channels", 1, t, {1, 3, 0, 2},
               {{{2, 16, 24}, t ? Shape{16, 17, 4} : Shape{17, 16, 4}, {17}}}));
    add(record("channels to channels in groups", 2, t, {1, 1, 0, 1, 2}, {{{1, 32, 4, 9}, {32, 16, 2, 3}, {32}}}));
    add(record("channels to channels", 3, t, {1, 0}, {{{1, 16, 3, 4, 9}, {16, 16, 2, 1, 3}}}));
    add(record("many channels", 1, t, {}, {{{1, 700, 5}, {t ? 700 : 2, t ? 2 : 700, 2}}})).f32 = 3e-4;
  }
  add(record("same", 1, false, {1, 0, 0, 2, 1, true}, {{{2, 2, 6}, {3, 2, 4}, {3}}}));
  add(record("same", 2, false, {1, 0, 0, 1, 1, true}, {{{1, 2, 4, 5}, {2, 2, 2, 3}}}));
  add(record("same", 3, false, {1, 0, 0, 3, 1, true}, {{{1, 1, 4, 5, 3}, {1, 1, 2, 3, 1}}}));
  auto bad = [&](char const* name, std::vector<BadCall> calls) {
    for (OpCase& c : all)
      if (c.name == name) c.bad = std::move(calls);
  };
  bad("conv1d ", {{[] {
                     conv1d(ones({1, 2, 4}), ones({3, 3, 2}));
                   },
                   {"conv1d", "[1, 2, 4]", "[3, 3, 2]"}},
                  {[] {
                     conv1d(ones({1, 2, 4}), ones({3, 2, 2}), {}, {.padding = "full"});
                   },
                   {"full", "same"}},
                  {[] {
                     conv1d(ones({1, 2, 4}), ones({3, 2, 2}), {}, {.stride = 2, .padding = "same"});
                   },
                   {"conv1d", "same", "2"}}});
  bad("conv2d ", {{[] {
                     conv2d(ones({1, 2, 4, 4}), ones({3, 2, 5, 1}));
                   },
                   {"conv2d", "spans 5", "axis 2"}},
                  {[] {
                     conv2d(ones({1, 2, 4, 4}), ones({3, 2, 3, 3}), ones({2}));
                   },
                   {"conv2d", "bias", "[3]", "[2]"}},
                  {[] {
                     conv2d(ones({1, 2, 4, 4}), ones({3, 2, 3, 3}, Dtype::f64));
                   },
                   {"conv2d", "f32", "f64"}},
                  {[] {
                     conv2d(ones({1, 2, 4, 4}), ones({3, 2, 3, 3}), {}, {.stride = 0});
                   },
                   {"conv2d", "stride", "0"}},
                  {[] {
                     conv2d(ones({1, 2, 4, 4}), ones({3, 2, 3, 3}), {}, {.stride = {1, 1, 1}});
                   },
                   {"conv2d", "[1, 1, 1]"}},
                  {[] {
                     conv2d(ones({1, 2, 4, 4}), ones({3, 2, 3, 3}), {}, {.padding = -1});
                   },
                   {"conv2d", "padding", "-1"}},
                  {[] {
                     conv2d(ones({1, 2, 0, 4}), ones({3, 2, 1, 1}));
                   },
                   {"conv2d", "axis 2", "[1, 2, 0, 4]"}},
                  {[] {
                     conv2d(ones({1, 2, 4, 4}), ones({0, 2, 1, 1}));
                   },
                   {"conv2d", "[0, 2, 1, 1]"}},
                  {[] {
                     conv2d(ones({4, 4}), ones({1, 1, 1, 1}));
                   },
                   {"conv2d", "[4, 4]"}},
                  {[] {
                     conv2d(Tensor(), ones({1, 1, 1, 1}));
                   },
                   {"conv2d"}}});
  bad("conv3d ", {{[] {
                     conv3d(ones({1, 3, 4, 4, 4}), ones({4, 2, 1, 1, 1}), {}, {.groups = 2});
                   },
                   {"conv3d", "2 groups"}},
                  {[] {
                     conv3d(ones({1, 3, 4}), ones({4, 3, 1}));
                   },
                   {"conv3d", "rank 5"}}});
  bad("conv_transpose1d ", {{[] {
                               conv_transpose1d(ones({1, 2, 4}), ones({2, 1, 2}), {}, {.output_padding = 1});
                             },
                             {"conv_transpose1d", "output_padding 1"}},
                            {[] {
                               conv_transpose1d(ones({1, 2, 1}), ones({2, 1, 2}), {}, {.padding = 1});
                             },
                             {"conv_transpose1d", "padding 1"}}});
  bad("conv_transpose2d ", {{[] {
                               conv_transpose2d(ones({1, 2, 4, 4}), ones({3, 2, 3, 3}));
                             },
                             {"conv_transpose2d", "[3, 2, 3, 3]"}},
                            {[] {
                               conv_transpose2d(ones({1, 2, 4, 4}), ones({2, 3, 3, 3}), ones({2}));
                             },
                             {"bias", "[3]", "[2]"}}});
  bad("conv_transpose3d ", {{[] {
                               conv_transpose3d(ones({1, 2, 4, 4}), ones({3, 2, 3, 3, 3}));
                             },
                             {"conv_transpose3d", "[1, 2, 4, 4]"}},
                            {[] {
                               conv_transpose3d(ones({2, 4}), ones({2, 2, 3, 3, 3}));
                             },
                             {"conv_transpose3d", "[2, 4]"}}});
  return all;
}

OpSuite const& suite() {
  static OpSuite const all{.sections = {"convolution"}, .cases = cases()};
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("convolutions of integers are exact, of 16-bit types those of f32") {
  std::vector<int64_t> values, taps;
  for (int64_t i = 0; i < 2 * 3 * 6; ++i) values.push_back((i * 7919) % 23 - 11);
  for (int64_t i = 0; i < 2 * 3 * 2; ++i) taps.push_back((i * 104729) % 17 - 8);
  Tensor const x = tensor(values, {2, 3, 6}), w = tensor(taps, {2, 3, 2}),
               bias = tensor(std::vector<int64_t>{5, -3}, {2});
  Tensor const y = conv1d(x, w, bias, {.stride = 2, .padding = 1});
  CHECK(y.dtype() == Dtype::i64);
  Tensor const back = conv_transpose1d(y, w, {}, {.stride = 2});
  Tensor const real = conv1d(x.to(Dtype::f64), w.to(Dtype::f64), bias.to(Dtype::f64), {.stride = 2, .padding = 1});
  CHECK(same_bits(y.to(Dtype::f64), real));
  CHECK(same_bits(back.to(Dtype::f64), conv_transpose1d(real, w.to(Dtype::f64), {}, {.stride = 2})));
  for (Dtype half : {Dtype::f16, Dtype::bf16}) {
    Tensor const a = x.to(half), b = w.to(half) * 0.125, c = bias.to(half);
    Tensor const wide = conv1d(a.to(Dtype::f32), b.to(Dtype::f32), c.to(Dtype::f32), {.padding = 1});
    CHECK(same_bits(conv1d(a, b, c, {.padding = 1}), wide.to(half)));
  }
}

TEST_CASE("a convolution over no channels is its bias") {
  Tensor const y = conv2d(ones({2, 0, 4, 4}), ones({3, 0, 3, 3}), tensor({1, 2, 3}));
  CHECK(same_bits(y, tensor({1, 2, 3}).reshape({1, 3, 1, 1}).expand({2, 3, 2, 2})));
}
