// Fourier transforms.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

/// Σⱼ x[.., j, ..]·e^(sign·2πi·jk/n), k < count, along `axis` of pairs, by the definition.
Tensor dft(Tensor const& x, int axis, int sign, int64_t count, double scale) {
  Tensor const last = x.transpose(axis, -2);
  int64_t const n = last.size(-2);
  Shape shape = last.shape();
  shape[last.rank() - 2] = count;
  auto const from = last.to_vector<double>();
  std::vector<double> to(size_t(numel(shape)));
  int64_t const lines = n ? last.numel() / (2 * n) : 0;
  for (int64_t l = 0; l < lines; ++l)
    for (int64_t k = 0; k < count; ++k)
      for (int64_t j = 0; j < n; ++j) {
        double const angle = sign * 2 * std::numbers::pi * double(j * k % n) / double(n);
        double const re = from[size_t((l * n + j) * 2)], im = from[size_t((l * n + j) * 2 + 1)];
        to[size_t((l * count + k) * 2)] += scale * (re * std::cos(angle) - im * std::sin(angle));
        to[size_t((l * count + k) * 2 + 1)] += scale * (re * std::sin(angle) + im * std::cos(angle));
      }
  return tensor(to, shape).transpose(axis, -2);
}

Tensor pairs(Tensor const& x) { return stack({x, zeros_like(x)}, -1); }
Tensor real_of(Tensor const& x) { return x.select(-1, 0); }

/// All n terms of a spectrum from its first half, where only the real parts of terms 0 and n/2 count.
Tensor whole_spectrum(Tensor const& half, int axis, int64_t n) {
  Tensor const last = half.detach().transpose(axis, -2);
  auto const from = last.to_vector<double>();
  int64_t const have = last.size(-2), lines = last.numel() / (2 * have);
  Shape shape = last.shape();
  shape[last.rank() - 2] = n;
  std::vector<double> to(size_t(numel(shape)));
  for (int64_t l = 0; l < lines; ++l)
    for (int64_t k = 0; k < n; ++k) {
      int64_t const at = std::min(k, n - k);
      bool const own = k == 0 || 2 * k == n;
      if (at >= have) continue;
      to[size_t((l * n + k) * 2)] = from[size_t((l * have + at) * 2)];
      to[size_t((l * n + k) * 2 + 1)] = own ? 0 : (k == at ? 1 : -1) * from[size_t((l * have + at) * 2 + 1)];
    }
  return tensor(to, shape).transpose(axis, -2);
}

double scale_of(FftNorm norm, int64_t n, bool inverse) {
  if (norm == FftNorm::ortho) return 1 / std::sqrt(double(n));
  return inverse == (norm == FftNorm::backward) ? 1 / double(n) : 1;
}

Tensor lengthened(Tensor const& x, int axis, int64_t n) {
  int64_t const have = x.size(axis);
  if (have >= n) return x.slice(axis, 0, n);
  Shape more = x.shape();
  more[axis] = n - have;
  return cat({x, zeros(more, x.dtype())}, axis);
}

std::vector<Shapes> complex_shapes() {
  std::vector<Shapes> all{{{4, 2}}, {{2, 3, 2}}};
  for (int64_t n : {1, 2, 5, 6, 7, 8, 12, 16, 30, 31, 36, 45, 64, 100}) all.push_back({{3, n, 2}});
  all.push_back({{0, 4, 2}});
  return all;
}

std::vector<Shapes> real_shapes() {
  auto all = complex_shapes();
  for (Shapes& s : all) s[0].erase(s[0].rank() - 1);
  return all;
}

OpCase record_of(std::string name, std::string covers, std::vector<Shapes> shapes, Function op, Function twin) {
  OpCase c{.name = std::move(name),
           .covers = std::move(covers),
           .inputs = std::vector<Input>(shapes[0].size(), real()),
           .shapes = std::move(shapes),
           .op = std::move(op),
           .twin = std::move(twin)};
  c.f32 = 3e-6, c.f64 = 1e-12, c.gradient_f32 = 1e-5;
  return c;
}

using OneAxis = Tensor (*)(Tensor const&, FftOptions);
using Axes = Tensor (*)(Tensor const&, FftnOptions);

std::vector<BadCall> bad_pairs(std::string const& name, OneAxis op) {
  return {{[=] { op(ones({3}), {}); }, {name, "pairs on a last axis", "[3]"}},
          {[=] {
             op(ones({3, 2}), {.axis = 1});
           },
           {"axis"}},
          {[=] {
             op(ones({3, 2}), {.n = 0});
           },
           {name, "length 0"}},
          {[=] { op(Tensor(), {}); }, {name}}};
}

void one_axis_cases() {
  struct Row {
    std::string name;
    OneAxis op;
    bool inverse;
  };
  for (Row const& r : {Row{"fft", fft, false}, Row{"ifft", ifft, true}}) {
    OpCase c = record_of(
        r.name, r.name, complex_shapes(), [=](Tensors const& x) { return Tensors{r.op(x[0], {})}; },
        [=](Tensors const& x) {
          int64_t const n = x[0].size(-2);
          return Tensors{dft(x[0], -2, r.inverse ? 1 : -1, n, r.inverse ? 1 / double(n) : 1)};
        });
    c.large = {{64, 360, 2}};
    c.bad = bad_pairs(r.name, r.op);
    list().push_back(c);
    for (FftNorm norm : {FftNorm::ortho, FftNorm::forward})
      for (int64_t n : {3, 10})
        list().push_back(record_of(
            r.name + " along axis 0, length " + std::to_string(n) + ", norm " + std::to_string(int(norm)), r.name,
            {{{6, 2}}, {{4, 3, 2}}},
            [=](Tensors const& x) {
              return Tensors{r.op(x[0], {n, 0, norm})};
            },
            [=](Tensors const& x) {
              return Tensors{dft(lengthened(x[0], 0, n), 0, r.inverse ? 1 : -1, n, scale_of(norm, n, r.inverse))};
            }));
  }
  for (Row const& r : {Row{"rfft", rfft, false}, Row{"ihfft", ihfft, true}}) {
    OpCase c = record_of(
        r.name, r.name, real_shapes(), [=](Tensors const& x) { return Tensors{r.op(x[0], {})}; },
        [=](Tensors const& x) {
          int64_t const n = x[0].size(-1);
          return Tensors{dft(pairs(x[0]), -2, r.inverse ? 1 : -1, n / 2 + 1, r.inverse ? 1 / double(n) : 1)};
        });
    c.large = {{64, 360}};
    c.bad = {{[=] { r.op(scalar(1), {}); }, {r.name, "nothing to transform"}},
             {[=] { r.op(ones({3}), {.axis = 1}); }, {"axis"}},
             {[=] { r.op(ones({0}), {}); }, {r.name, "length 0"}}};
    list().push_back(c);
    list().push_back(record_of(
        r.name + " along axis 0, longer", r.name, {{{4, 3}}, {{7, 2}}},
        [=](Tensors const& x) {
          return Tensors{r.op(x[0], {9, 0, FftNorm::ortho})};
        },
        [=](Tensors const& x) {
          return Tensors{dft(pairs(lengthened(x[0], 0, 9)), 0, r.inverse ? 1 : -1, 5, 1.0 / 3)};
        }));
  }
  for (Row const& r : {Row{"irfft", irfft, true}, Row{"hfft", hfft, false}})
    for (int64_t odd : {0, 1}) {
      auto shapes = complex_shapes();
      if (!odd) std::erase_if(shapes, [](Shapes const& s) { return s[0][s[0].rank() - 2] == 1; });
      OpCase c = record_of(
          r.name + (odd ? " of odd length" : ""), r.name, shapes,
          [=](Tensors const& x) { return Tensors{r.op(x[0], {.n = odd ? 2 * x[0].size(-2) - 1 : -1, .axis = -1})}; },
          [=](Tensors const& x) {
            int64_t const n = 2 * x[0].size(-2) - 2 + odd;
            Tensor const whole = whole_spectrum(x[0], -2, n);
            return Tensors{real_of(dft(whole, -2, r.inverse ? 1 : -1, n, r.inverse ? 1 / double(n) : 1))};
          });
      c.bad = bad_pairs(r.name, r.op);
      list().push_back(c);
    }
}

void several_axes_cases() {
  struct Row {
    std::string name;
    Axes many, two;
    OneAxis one;
    OneAxis other;  // along all axes but the last
    bool pairs_in, ends;
  };
  for (Row const& r :
       {Row{"fft", fftn, fft2, fft, fft, true, false}, Row{"ifft", ifftn, ifft2, ifft, ifft, true, false},
        Row{"rfft", rfftn, rfft2, rfft, fft, false, false}, Row{"ihfft", ihfftn, ihfft2, ihfft, ifft, false, false},
        Row{"irfft", irfftn, irfft2, irfft, ifft, true, true}, Row{"hfft", hfftn, hfft2, hfft, fft, true, true}}) {
    // One axis after the other; the real side is the last axis, first on the way in, last on the way out.
    auto const composed = [=](Tensor x, std::vector<int> axes, std::vector<int64_t> s, FftNorm norm) {
      size_t const last = axes.size() - 1;
      if (!r.ends) x = r.one(x, {s[last], axes[last], norm});
      for (size_t i = 0; i < last; ++i) x = r.other(x, {s[i], axes[i], norm});
      return r.ends ? r.one(x, {s[last], axes[last], norm}) : x;
    };
    Shapes const shape{r.pairs_in ? Shape{3, 4, 2} : Shape{3, 4}},
        cube{r.pairs_in ? Shape{2, 3, 4, 2} : Shape{2, 3, 4}};
    std::string const bad_name = r.name;
    OpCase n = record_of(
        r.name + "n", r.name + "n", {shape},
        [=](Tensors const& x) {
          return Tensors{r.many(x[0], {.s = {5, -1}, .axes = {1, 0}, .norm = FftNorm::ortho})};
        },
        [=](Tensors const& x) {
          return Tensors{composed(x[0], {1, 0}, {5, -1}, FftNorm::ortho)};
        });
    n.bad = {{[=] {
                r.many(ones({3, 4, 2}), {.s = {3}, .axes = {0, 1}});
              },
              {r.name + "n", "1 lengths"}},
             {[=] {
                r.many(ones({3, 4, 2}), {.axes = {0, 0}});
              },
              {r.name + "n", "twice"}}};
    list().push_back(n);
    list().push_back(record_of(
        r.name + "n, all axes", r.name + "n", {cube}, [=](Tensors const& x) { return Tensors{r.many(x[0], {})}; },
        [=](Tensors const& x) {
          return Tensors{composed(x[0], {0, 1, 2}, {-1, -1, -1}, FftNorm::backward)};
        }));
    OpCase two = record_of(
        r.name + "2", r.name + "2", {cube}, [=](Tensors const& x) { return Tensors{r.two(x[0], {})}; },
        [=](Tensors const& x) {
          return Tensors{composed(x[0], {-2, -1}, {-1, -1}, FftNorm::backward)};
        });
    two.bad = {{[=] { r.two(ones({2}), {}); }, {r.name + "2"}},
               {[=] {
                  r.two(ones({3, 4, 2}), {.axes = {0, 7}});
                },
                {"axis"}}};
    list().push_back(two);
  }
}

void other_cases() {
  for (bool inverse : {false, true}) {
    OpCase c = record_of(
        inverse ? "ifftshift" : "fftshift", inverse ? "ifftshift" : "fftshift", {{{5}}, {{4, 3}}, {{1}}, {{0, 2}}},
        [=](Tensors const& x) {
          return Tensors{inverse ? ifftshift(x[0]) : fftshift(x[0], {0, -1})};
        },
        [=](Tensors const& x) {
          auto const from = x[0].to_vector<double>();
          int64_t const columns = x[0].size(-1), rows = columns ? x[0].numel() / columns : 0;
          std::vector<double> to(from.size());
          auto const moved = [&](int64_t i, int64_t n) { return (i + (n + (inverse ? 1 : 0)) / 2) % n; };
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < columns; ++j)
              to[size_t((x[0].rank() == 1 ? i : moved(i, rows)) * columns + moved(j, columns))] =
                  from[size_t(i * columns + j)];
          return Tensors{tensor(to, x[0].shape())};
        });
    if (!inverse)
      c.op = [](Tensors const& x) { return Tensors{x[0].rank() == 1 ? fftshift(x[0]) : fftshift(x[0], {0, -1})}; };
    c.bad = {{[=] { inverse ? ifftshift(ones({3}), {1}) : fftshift(ones({3}), {1}); }, {"axis"}},
             {[=] { inverse ? ifftshift(Tensor()) : fftshift(Tensor()); }, {"shift"}}};
    list().push_back(c);
  }
  OpCase z = record_of(
      "complex", "complex", {{{3}, {3}}, {{2, 3}, {3}}, {{}, {}}, {{0}, {0}}},
      [](Tensors const& x) { return Tensors{complex(x[0], x[1])}; },
      [](Tensors const& x) {
        Tensor const whole = x[0] + x[1];
        return Tensors{cat({(whole - x[1]).unsqueeze(-1), (whole - x[0]).unsqueeze(-1)}, -1)};
      });
  z.bad = {{[] { complex(ones({3}), ones({2})); }, {"complex", "[3]", "[2]"}},
           {[] { complex(Tensor()); }, {"complex"}}};
  list().push_back(z);
  OpCase m = record_of(
      "complex_mul", "complex_mul", {{{2, 2}, {2, 2}}, {{3, 1, 2}, {4, 2}}, {{2}, {2}}, {{0, 2}, {1, 2}}},
      [](Tensors const& x) { return Tensors{complex_mul(x[0], x[1])}; },
      [](Tensors const& x) {
        // The matrix [[a, −b], [b, a]] of a + bi, times (c, d).
        Tensor const a = x[0].select(-1, 0), b = x[0].select(-1, 1);
        Tensor const matrix = stack({stack({a, -b}, -1), stack({b, a}, -1)}, -2);
        return Tensors{sum(matrix * x[1].unsqueeze(-2), {-1})};
      });
  m.bad = {{[] { complex_mul(ones({3}), ones({2})); }, {"complex_mul", "[3]"}},
           {[] {
              complex_mul(ones({2, 2}), ones({3, 2}));
            },
            {"[2]", "[3]"}}};
  list().push_back(m);
  OpCase c = record_of(
      "fft_convolve", "fft_convolve",
      {{{5}, {3}}, {{2, 7}, {7}}, {{2, 1, 6}, {3, 4}}, {{4}, {9}}, {{1}, {1}}, {{100}, {31}}, {{0}, {2}}, {{3}, {0}}},
      [](Tensors const& x) { return Tensors{fft_convolve(x[0], x[1])}; },
      [](Tensors const& x) {
        int64_t const t = x[0].size(-1), k = x[1].size(-1);
        Tensor y = x[0] * (k ? x[1].slice(-1, 0, 1) : zeros({1}, x[1].dtype()));
        for (int64_t j = 1; j < std::min(k, t); ++j) {
          Shape head = x[0].shape();
          head[head.rank() - 1] = j;
          y = y + cat({zeros(head, Dtype::f64), x[0].slice(-1, 0, t - j)}, -1) * x[1].slice(-1, j, j + 1);
        }
        return Tensors{y};
      });
  c.f32 = 1e-5;
  c.large = {{16, 500}, {16, 500}};
  c.bad = {{[] { fft_convolve(scalar(1), ones({2})); }, {"fft_convolve", "at least one axis"}},
           {[] {
              fft_convolve(ones({2, 3}), ones({3, 3}));
            },
            {"[2", "[3"}}};
  list().push_back(c);
}

Tensor window(int64_t n, Dtype dtype) {
  std::vector<double> w(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i)
    w[size_t(i)] = 0.2 + 0.8 * std::pow(std::sin(std::numbers::pi * (double(i) + 0.5) / double(n)), 2);
  return tensor(w, {n}).to(dtype);
}

/// Frames one by one.
Tensor stft_loops(Tensor const& x, int64_t n, int64_t hop, Tensor const& w, bool center, bool onesided) {
  Tensor const rows = x.rank() == 1 ? x.unsqueeze(0) : x;
  int64_t const length = rows.size(1), half = center ? n / 2 : 0;
  std::vector<Tensor> frames;
  for (int64_t from = -half; from + n <= length + half; from += hop) {
    std::vector<Tensor> samples;
    for (int64_t i = from; i < from + n; ++i)
      samples.push_back(rows.select(1, i < 0 ? -i : i < length ? i : 2 * (length - 1) - i));
    frames.push_back(dft(pairs(stack(samples, -1) * w), -2, -1, onesided ? n / 2 + 1 : n, 1));
  }
  Tensor const y = stack(frames, -2);
  return x.rank() == 1 ? y.squeeze(0) : y;
}

void short_time_cases() {
  for (bool plain : {true, false}) {
    StftOptions const options =
        plain ? StftOptions{} : StftOptions{.hop_length = 3, .win_length = 6, .center = false, .onesided = false};
    auto const with_window = [=](Tensor const& x) {
      StftOptions o = options;
      if (!plain) o.window = window(6, x.dtype()).to(x.device());
      return o;
    };
    OpCase c = record_of(
        plain ? "stft" : "stft, two-sided, windowed", "stft", {{{10}}, {{2, 17}}, {{8}}},
        [=](Tensors const& x) { return Tensors{stft(x[0], 8, with_window(x[0]))}; },
        [=](Tensors const& x) {
          Tensor const w = plain ? ones({8}, Dtype::f64)
                                 : cat({zeros({1}, Dtype::f64), window(6, Dtype::f64), zeros({1}, Dtype::f64)});
          return Tensors{stft_loops(x[0], 8, plain ? 2 : 3, w, plain, plain)};
        });
    c.bad = {{[] { stft(ones({3}), 8); }, {"stft", "3 samples"}},
             {[] {
                stft(ones({2, 2, 20}), 8);
              },
              {"stft", "[T] or [B, T]"}},
             {[] { stft(ones({20}), 8, {.hop_length = 0}); }, {"stft", "hop_length"}},
             {[] { stft(ones({20}), 8, {.window = ones({5})}); }, {"stft", "[8]", "[5]"}}};
    list().push_back(c);
  }
  OpCase c = record_of(
      "istft", "istft", {{{5, 4, 2}}, {{2, 5, 3, 2}}, {{5, 7, 2}}},
      [](Tensors const& x) { return Tensors{istft(x[0], 8, {.window = window(8, x[0].dtype()).to(x[0].device())})}; },
      [](Tensors const& x) {
        Tensor const batch = (x[0].rank() == 3 ? x[0].unsqueeze(0) : x[0]).transpose(1, 2);
        int64_t const rows = batch.size(0), count = batch.size(1), length = (count - 1) * 2 + 8;
        auto const w = window(8, Dtype::f64).to_vector<double>();
        auto const frames = real_of(dft(whole_spectrum(batch, -2, 8), -2, 1, 8, 0.125)).to_vector<double>();
        std::vector<double> top(size_t(rows * length)), bottom(size_t(rows * length));
        for (int64_t b = 0; b < rows; ++b)
          for (int64_t f = 0; f < count; ++f)
            for (int64_t i = 0; i < 8; ++i) {
              top[size_t(b * length + f * 2 + i)] += w[size_t(i)] * frames[size_t((b * count + f) * 8 + i)];
              bottom[size_t(b * length + f * 2 + i)] += w[size_t(i)] * w[size_t(i)];
            }
        Tensor const y = (tensor(top, {rows, length}) / tensor(bottom, {rows, length})).slice(1, 4, length - 4);
        return Tensors{x[0].rank() == 3 ? y.squeeze(0) : y};
      });
  c.bad = {{[] {
              istft(ones({4, 3, 2}), 8);
            },
            {"istft", "[5, frames, 2]", "[4, 3, 2]"}},
           {[] {
              istft(ones({5, 3, 2}), 8, {.hop_length = 8, .win_length = 2});
            },
            {"istft", "cover"}},
           {[] {
              istft(ones({5, 3, 2}), 8, {.win_length = 9});
            },
            {"istft", "win_length"}}};
  list().push_back(c);
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    one_axis_cases();
    several_axes_cases();
    other_cases();
    short_time_cases();
    return OpSuite{.sections = {"Fourier transforms"}, .cases = list(), .not_differentiable = {"fftfreq", "rfftfreq"}};
  }();
  return all;
}

double largest(Tensor const& x) {
  double most = 0;
  for (double v : x.to_vector<double>()) most = std::max(most, std::abs(v));
  return most;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("frequencies of a transform") {
  CHECK(fftfreq(5, 0.5).to_vector<double>() == std::vector<double>{0, 0.4f, 0.8f, -0.8f, -0.4f});
  CHECK(fftfreq(4).to_vector<double>() == std::vector<double>{0, 0.25, -0.5, -0.25});
  CHECK(rfftfreq(5, 0.2).to_vector<double>() == std::vector<double>{0, 1, 2});
  CHECK(rfftfreq(1).to_vector<double>() == std::vector<double>{0});
  CHECK(error_of([] { fftfreq(0); }).find("n >= 1") != std::string::npos);
  CHECK(error_of([] { rfftfreq(3, 0); }).find("spacing") != std::string::npos);
}

TEST_CASE("accuracy: f32 against f64, of every length to 200 and some long ones") {
  std::vector<int64_t> lengths;
  for (int64_t n = 1; n <= 200; ++n) lengths.push_back(n);
  for (int64_t n : {1009, 4096, 10007, 30000}) lengths.push_back(n);
  for (int64_t n : lengths) {
    CAPTURE(n);
    Tensor const x = numbers({n, 2}, uint32_t(n)), y = fft(x), x32 = x.to(Dtype::f32);
    double const tolerance = 1e-7 * (2 + std::log2(double(n))) * largest(y);
    CHECK(largest(fft(x32).to(Dtype::f64) - y) <= tolerance);
    CHECK(largest(ifft(y) - x) <= 1e-15 * (2 + std::log2(double(n))));
    Tensor const r = numbers({n}, uint32_t(n) + 1), half = rfft(r);
    CHECK(largest(half - fft(complex(r)).slice(0, 0, n / 2 + 1)) <= 1e-15 * (2 + std::log2(double(n))) * largest(half));
    CHECK(largest(irfft(half, {.n = n}) - r) <= 1e-15 * (2 + std::log2(double(n))));
  }
}

TEST_CASE("an accelerator's lines: of every short length, of several steps, of large primes, in columns, real") {
  Device const there = emulated_device();
  std::vector<int64_t> lengths{64, 100, 243, 625, 1009, 4096, 4098, 8192, 12150, 16384};
  for (int64_t n = 1; n <= 40; ++n) lengths.push_back(n);
  for (int64_t n : lengths)
    for (Dtype const dtype : {Dtype::f32, Dtype::f64}) {
      CAPTURE(n);
      double const tolerance = (dtype == Dtype::f32 ? 2e-7 : 4e-16) * (2 + std::log2(double(n)));
      Tensor const x = numbers({2, n, 2}, uint32_t(n)).to(dtype), on = x.to(there), y = fft(x);
      CHECK(largest(fft(on).to(cpu) - y) <= tolerance * largest(y));
      CHECK(largest(ifft(y.to(there)).to(cpu) - x) <= tolerance);
      Tensor const r = numbers({2, n}, uint32_t(n) + 1).to(dtype), half = rfft(r);
      CHECK(largest(rfft(r.to(there)).to(cpu) - half) <= tolerance * largest(half));
      CHECK(largest(irfft(half.to(there), {.n = n}).to(cpu) - r) <= tolerance);
    }
  for (int64_t n : {15, 31, 4100}) {
    CAPTURE(n);
    Tensor const x = numbers({2, n, 3, 2}, 7);
    CHECK(largest(fft(x.to(there), {.axis = 1}).to(cpu) - fft(x, {.axis = 1})) <= 1e-14 * double(n));
  }
}

TEST_CASE("lines side by side, and columns, are each transformed as one is, on every level") {
  on_every_isa([] {
    for (int64_t n :
         {1, 2, 3, 7, 8, 12, 16, 30, 48, 64, 67, 100, 128, 135, 240, 256, 270, 500, 625, 1000, 1009, 1024}) {
      CAPTURE(n);
      Tensor const x = numbers({19, n, 2}, uint32_t(n)), y = fft(x), r = x.select(2, 0).contiguous(), half = rfft(r);
      Tensor const time = arange(n).to(Dtype::f64),
                   angle = time.unsqueeze(1) * time * (2 * std::numbers::pi / double(n));
      Tensor const direct = complex(matmul(r, cos(angle)), matmul(r, -sin(angle)));
      CHECK(largest(fft(complex(r)) - direct) <= 1e-12 * double(n));
      for (int64_t l : {0, 16, 18}) {
        CHECK(largest(y.select(0, l) - fft(x.select(0, l))) == 0);
        CHECK(largest(half.select(0, l) - rfft(r.select(0, l))) == 0);
        CHECK(largest(irfft(half, {.n = n}).select(0, l) - irfft(half.select(0, l), {.n = n})) == 0);
      }
      double const tolerance = 1e-14 * largest(y);
      CHECK(largest(fft(x.transpose(0, 1), {.axis = 0}) - y.transpose(0, 1)) <= tolerance);
      CHECK(largest(ifft(y.transpose(0, 1), {.axis = 0}) - x.transpose(0, 1)) <= tolerance);
    }
  });
}

TEST_CASE("a signal comes back from its short-time transform") {
  for (bool normalized : {false, true}) {
    StftOptions const options{.hop_length = 4, .window = window(16, Dtype::f64), .normalized = normalized};
    Tensor const x = numbers({2, 64}, 1);
    CHECK(differs(istft(stft(x, 16, options), 16, options), x, 1e-13) == "");
    CHECK(differs(istft(stft(x, 16, options), 16, options, 50), x.slice(1, 0, 50), 1e-13) == "");
    CHECK(istft(stft(x, 16, options), 16, options, 80).shape() == Shape{2, 80});
  }
}
