// The device's convolutions against the CPU's, where they have channels enough for tiles: what the records of
// operations are too small for.
#include <heed/engine/ops/conv.h>

#include "device_array.h"

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
extern Convolutions const device_convolutions;
}
}  // namespace heed

using namespace heed;
using namespace heed::tests;

namespace {

/// A shape whose outputs follow from the rest.
ConvShape shape(int64_t batch, int64_t groups, int64_t in, int64_t out, std::vector<WindowAxis> const& axes) {
  ConvShape s{.batch = batch, .groups = groups, .in = in, .out = out};
  for (size_t i = 0; i < axes.size(); ++i) {
    WindowAxis a = axes[i];
    a.out = (a.in + 2 * a.pad - a.dilation * (a.kernel - 1) - 1) / a.stride + 1;
    s.axis[3 - axes.size() + i] = a;
  }
  return s;
}

template <class T>
double error_of(ConvShape const& s, ConvolutionsOf<T> const& there = device_convolutions.of<T>()) {
  Numbers numbers(uint64_t(s.in * 131 + s.out * 17 + s.taps()));
  auto const x = numbers.vector<T>(s.batch * s.groups * s.in * s.x_size());
  auto const w = numbers.vector<T>(s.groups * s.out * s.rows());
  auto const g = numbers.vector<T>(s.batch * s.groups * s.out * s.y_size());
  auto const y_bias = numbers.vector<T>(s.groups * s.out), x_bias = numbers.vector<T>(s.groups * s.in);
  DeviceArray<T> const dx(x), dw(w), dg(g), dy_bias(y_bias), dx_bias(x_bias);
  auto const& here = convolutions(cpu, "test").of<T>();
  double error = 0;
  auto const compare = [&](std::vector<T> const& like, auto const& run) {
    std::vector<T> wanted = like;
    DeviceArray<T> const got(like);
    run(here, wanted.data(), x.data(), w.data(), g.data(), y_bias.data(), x_bias.data());
    run(there, got.data(), dx.data(), dw.data(), dg.data(), dy_bias.data(), dx_bias.data());
    error = std::max(error, relative_error(got.host(), wanted));
  };
  using P = T const*;
  compare(g, [&](auto const& k, T* to, P px, P pw, P, P bias, P) { k.forward(s, px, pw, bias, to); });
  compare(x, [&](auto const& k, T* to, P, P pw, P pg, P, P bias) { k.input(s, pg, pw, bias, to); });
  compare(w, [&](auto const& k, T* to, P px, P, P pg, P, P) { k.weight(s, px, pg, to); });
  return error;
}

}  // namespace

TEST_CASE_TEMPLATE("convolutions on a device: tiles", T, float, double) {
  double const bound = sizeof(T) == 4 ? 2e-6 : 1e-14;
  Largest largest{sizeof(T) == 4 ? "convolution f32" : "convolution f64"};
  auto const error = [&](ConvShape const& s) { return largest.note(error_of<T>(s)); };
  CHECK(error(shape(2, 1, 9, 10, {{.in = 7, .kernel = 3, .pad = 1}, {.in = 6, .kernel = 3, .pad = 1}})) < bound);
  // Channels in whole panels, rows and columns beyond a tile.
  CHECK(error(shape(2, 1, 16, 72, {{.in = 6, .kernel = 3, .pad = 1}, {.in = 8, .kernel = 3, .pad = 1}})) < bound);
  // Strides: phases with different taps, and one without any.
  CHECK(error(shape(1, 2, 9, 16,
                    {{.in = 9, .kernel = 3, .stride = 2, .pad = 1}, {.in = 8, .kernel = 2, .stride = 3}})) < bound);
  CHECK(error(shape(2, 1, 12, 9, {{.in = 17, .kernel = 4, .stride = 4, .dilation = 2, .pad = 3}})) < bound);
  CHECK(error(shape(1, 1, 10, 12,
                    {{.in = 4, .kernel = 2, .pad = 1},
                     {.in = 5, .kernel = 3, .stride = 2, .pad = 1},
                     {.in = 6, .kernel = 2, .dilation = 3, .pad = 2}})) < bound);
  CHECK(error(shape(3, 1, 1, 9, {{.in = 5, .kernel = 3}, {.in = 5, .kernel = 3}})) < bound);  // panels of many taps
  CHECK(error(shape(2, 1, 24, 10, {{.in = 3, .kernel = 1}, {.in = 4, .kernel = 1}})) < bound);
  // A stride far beyond the kernel.
  CHECK(error(shape(1, 1, 9, 9, {{.in = 25, .kernel = 2, .stride = 12}})) < bound);
}

TEST_CASE_TEMPLATE("convolutions on a device: long sums in parts", T, float, double) {
  double const bound = sizeof(T) == 4 ? 2e-6 : 1e-14;
  Largest largest{sizeof(T) == 4 ? "convolution f32, parts" : "convolution f64, parts"};
  CHECK(largest.note(error_of<T>(
            shape(1, 1, 64, 65, {{.in = 3, .kernel = 3, .pad = 1}, {.in = 4, .kernel = 3, .pad = 1}}))) < bound);
  CHECK(largest.note(error_of<T>(shape(2, 1, 9, 9, {{.in = 300, .kernel = 3, .stride = 1, .pad = 1}}))) < bound);
}

TEST_CASE("convolutions on a device: large tiles, and operands rounded to tf32") {
  ConvShape const wide = shape(1, 1, 8, 72, {{.in = 6200, .kernel = 2, .stride = 1, .pad = 1}}),
                  narrow = shape(2, 1, 16, 72, {{.in = 6, .kernel = 3, .pad = 1}, {.in = 8, .kernel = 3, .pad = 1}});
  ConvShape two = wide;
  two.batch = 2;
  Largest largest{"convolution f32, large tiles"}, rounded{"convolution tf32"};
  CHECK(largest.note(error_of<float>(two)) < 2e-6);
  CHECK(rounded.note(error_of<float>(two, device_convolutions.tf32)) < 6e-4);
  CHECK(rounded.note(error_of<float>(narrow, device_convolutions.tf32)) < 6e-4);
  CHECK(rounded.value > 1e-5);  // they were rounded
}

TEST_CASE_TEMPLATE("windows as columns on a device", T, float, double) {
  ConvShape const s =
      shape(2, 1, 3, 1, {{.in = 7, .kernel = 3, .stride = 2, .pad = 1}, {.in = 8, .kernel = 2, .dilation = 3}});
  Numbers numbers(3);
  auto const x = numbers.vector<T>(s.batch * s.in * s.x_size()), c = numbers.vector<T>(s.batch * s.rows() * s.y_size());
  DeviceArray<T> const dx(x), dc(c), to_x(x), to_c(c);
  std::vector<T> want_x = x, want_c = c;
  convolutions(cpu, "test").of<T>().gather(s, x.data(), want_c.data());
  convolutions(cpu, "test").of<T>().scatter(s, c.data(), want_x.data());
  device_convolutions.of<T>().gather(s, dx.data(), to_c.data());
  device_convolutions.of<T>().scatter(s, dc.data(), to_x.data());
  CHECK(to_c.host() == want_c);
  CHECK(relative_error(to_x.host(), want_x) < 1e-6);
}
