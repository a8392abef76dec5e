// Fourier transforms along axes, from three linear primitives and their adjoints.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/fourier.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace heed {
namespace {

Tensor hermitian_line(Tensor const& x, int64_t n, double scale);

/// Of pairs, along `axis`. The adjoint of a complex matrix F, in reals, is conj Fᵀ: the other sign.
Tensor complex_along(Tensor const& x, int axis, bool inverse, double scale) {
  Tensor const from = x.contiguous();
  Tensor y(x.shape(), x.dtype(), x.device());
  int64_t const n = x.shape()[axis];
  int64_t inner = 1;
  for (int a = axis + 1; a < x.rank() - 1; ++a) inner *= x.shape()[a];
  Observed const watch("fft", {&x}, {&y});
  if (y.numel() > 0)
    dispatch_floating("fft", x.dtype(), [&]<class T>(Type<T>) {
      fourier_transforms(x.device(), "fft")
          .of<T>()
          .complex(from.address<T>(), y.address<T>(), x.numel() / (2 * n * inner), n, inner, inverse, scale);
    });
  if (tracked(x))
    record("fft", y, {&x}, [axis, inverse, scale](Tensor const& g, Node const&) {
      return std::array{complex_along(g, axis, !inverse, scale)};
    });
  return y;
}

/// [n/2 + 1, 1]: `inner` for the frequencies that stand for two, else 1.
Tensor weights(int64_t n, double inner, Tensor const& like) {
  std::vector<double> w(size_t(n / 2 + 1), inner);
  w[0] = 1;
  if (n % 2 == 0) w[size_t(n / 2)] = 1;
  return tensor(w, {n / 2 + 1, 1}).to(like.dtype()).to(like.device());
}

/// [.., n] → [.., n/2 + 1, 2]
Tensor real_line(Tensor const& x, double scale) {
  Tensor const from = x.contiguous();
  int64_t const n = x.size(-1);
  Shape shape = x.shape();
  shape[x.rank() - 1] = n / 2 + 1;
  shape.push_back(2);
  Tensor y(shape, x.dtype(), x.device());
  Observed const watch("rfft", {&x}, {&y});
  if (y.numel() > 0)
    dispatch_floating("rfft", x.dtype(), [&]<class T>(Type<T>) {
      fourier_transforms(x.device(), "rfft").of<T>().real(from.address<T>(), y.address<T>(), x.numel() / n, n, scale);
    });
  if (tracked(x))
    record("rfft", y, {&x}, [n, scale](Tensor const& g, Node const&) {
      return std::array{hermitian_line(g * weights(n, 0.5, g), n, scale)};
    });
  return y;
}

/// [.., n/2 + 1, 2] → [.., n]
Tensor hermitian_line(Tensor const& x, int64_t n, double scale) {
  Tensor const from = x.contiguous();
  Shape shape = x.shape();
  shape.erase(x.rank() - 1);
  shape[x.rank() - 2] = n;
  Tensor y(shape, x.dtype(), x.device());
  Observed const watch("irfft", {&x}, {&y});
  if (y.numel() > 0)
    dispatch_floating("irfft", x.dtype(), [&]<class T>(Type<T>) {
      fourier_transforms(x.device(), "irfft")
          .of<T>()
          .hermitian(from.address<T>(), y.address<T>(), y.numel() / n, n, scale);
    });
  if (tracked(x))
    record("irfft", y, {&x},
           [n, scale](Tensor const& g, Node const&) { return std::array{real_line(g, scale) * weights(n, 2, g)}; });
  return y;
}

Tensor floating(char const* op, Tensor const& x) {
  check_defined(op, x);
  return is_floating(x.dtype()) ? x : x.to(Dtype::f32);
}

Tensor checked_pairs(char const* op, Tensor const& x) {
  check_defined(op, x);
  check(x.rank() >= 1 && x.size(-1) == 2, op, [&] {
    return Complaint{
        fmt::format("expected complex numbers, pairs on a last axis of size 2, got shape {}", to_string(x.shape())),
        "make them with complex(re, im), or use the transform of real input"};
  });
  return floating(op, x);
}

Tensor conjugate(Tensor const& x) { return x * tensor({1, -1}).to(x.dtype()).to(x.device()); }

/// The first n elements along `axis`, with zeros where there are fewer.
Tensor resized(Tensor const& x, int axis, int64_t n) {
  int64_t const have = x.shape()[axis];
  if (have >= n) return have == n ? x : x.slice(axis, 0, n);
  Shape more = x.shape();
  more[axis] = n - have;
  return cat({x, zeros(more, x.dtype(), x.device())}, axis);
}

double scale_of(FftNorm norm, int64_t n, bool inverse) {
  if (norm == FftNorm::ortho) return 1 / std::sqrt(double(n));
  return (norm == FftNorm::backward) == inverse ? 1 / double(n) : 1;
}

int64_t checked_length(char const* op, int64_t n, Tensor const& x) {
  check(n >= 1, op, [&] {
    return Complaint{fmt::format("a transform of length {} of shape {}", n, to_string(x.shape())),
                     "use a length of 1 or more"};
  });
  return n;
}

/// `axis` of the signal's axes, of which pairs have one less than the tensor.
int signal_axis(char const* op, int axis, Tensor const& x, bool pairs) {
  int const rank = x.rank() - (pairs ? 1 : 0);
  check(rank >= 1, op, [&] {
    return Complaint{fmt::format("nothing to transform along in shape {}", to_string(x.shape())), "add an axis"};
  });
  return normalize_axis(op, axis, rank);
}

Tensor complex_transform(char const* op, Tensor const& input, FftOptions options, bool inverse) {
  Tensor const x = checked_pairs(op, input);
  int const axis = signal_axis(op, options.axis, x, true);
  int64_t const n = checked_length(op, options.n == -1 ? x.shape()[axis] : options.n, x);
  return complex_along(resized(x, axis, n), axis, inverse, scale_of(options.norm, n, inverse));
}

/// rfft, or its conjugate with the other norm: ihfft.
Tensor real_transform(char const* op, Tensor const& input, FftOptions options, bool inverse) {
  Tensor const x = floating(op, input);
  int const axis = signal_axis(op, options.axis, x, false);
  int64_t const n = checked_length(op, options.n == -1 ? x.shape()[axis] : options.n, x);
  Tensor const y = real_line(resized(x, axis, n).transpose(axis, -1), scale_of(options.norm, n, inverse));
  return (inverse ? conjugate(y) : y).transpose(axis, -2);
}

/// irfft, or hfft: that of the conjugate with the other norm.
Tensor hermitian_transform(char const* op, Tensor const& input, FftOptions options, bool inverse) {
  Tensor const x = checked_pairs(op, input);
  int const axis = signal_axis(op, options.axis, x, true);
  int64_t const n = checked_length(op, options.n == -1 ? 2 * (x.shape()[axis] - 1) : options.n, x);
  Tensor const half = resized(x, axis, n / 2 + 1).transpose(axis, -2);
  return hermitian_line(inverse ? half : conjugate(half), n, scale_of(options.norm, n, inverse)).transpose(axis, -1);
}

}  // namespace

Tensor fft(Tensor const& x, FftOptions options) { return complex_transform("fft", x, options, false); }
Tensor ifft(Tensor const& x, FftOptions options) { return complex_transform("ifft", x, options, true); }
Tensor rfft(Tensor const& x, FftOptions options) { return real_transform("rfft", x, options, false); }
Tensor ihfft(Tensor const& x, FftOptions options) { return real_transform("ihfft", x, options, true); }
Tensor irfft(Tensor const& x, FftOptions options) { return hermitian_transform("irfft", x, options, true); }
Tensor hfft(Tensor const& x, FftOptions options) { return hermitian_transform("hfft", x, options, false); }

namespace {

/// Axes 0 … rank − 1 of the signal, and the length of each transform (-1: the axis').
struct Many {
  std::vector<int> axes;
  std::vector<int64_t> lengths;
};

Many many(char const* op, Tensor const& x, FftnOptions const& options, bool pairs, bool two) {
  check_defined(op, x);
  int const rank = x.rank() - (pairs ? 1 : 0);
  Dims axes = options.axes;
  if (axes.rank() == 0) {
    int const count = options.s.rank() ? options.s.rank() : two ? 2 : rank;
    check(count <= rank, op, [&] {
      return Complaint{fmt::format("{} axes to transform in shape {}", count, to_string(x.shape())),
                       "name fewer lengths, or give x more axes"};
    });
    for (int i = rank - count; i < rank; ++i) axes.push_back(i);
  }
  check(options.s.rank() == 0 || options.s.rank() == axes.rank(), op, [&] {
    return Complaint{fmt::format("{} lengths for axes {}", options.s.rank(), to_string(axes)), "give one for each"};
  });
  Many m;
  for (int i = 0; i < axes.rank(); ++i) {
    int const axis = signal_axis(op, int(axes[i]), x, pairs);
    check(std::find(m.axes.begin(), m.axes.end(), axis) == m.axes.end(), op, [&] {
      return Complaint{fmt::format("axis {} twice in {}", axis, to_string(axes)), "name each axis once"};
    });
    m.axes.push_back(axis);
    m.lengths.push_back(options.s.rank() ? options.s[i] : -1);
  }
  return m;
}

FftOptions at(Many const& m, size_t i, FftNorm norm) { return {.n = m.lengths[i], .axis = m.axes[i], .norm = norm}; }

Tensor complex_axes(char const* op, Tensor x, Many const& m, size_t count, FftNorm norm, bool inverse) {
  for (size_t i = 0; i < count; ++i) x = complex_transform(op, x, at(m, i, norm), inverse);
  return x;
}

Tensor complex_many(char const* op, Tensor const& x, FftnOptions const& options, bool inverse, bool two = false) {
  Tensor const pairs = checked_pairs(op, x);
  Many const m = many(op, pairs, options, true, two);
  return complex_axes(op, pairs, m, m.axes.size(), options.norm, inverse);
}

void check_some(char const* op, Many const& m) {
  check(!m.axes.empty(), op, [] { return Complaint{"no axes to transform", "give x an axis, or name one"}; });
}

/// The last axis from real, then the others.
Tensor real_many(char const* op, Tensor const& x, FftnOptions const& options, bool inverse, bool two = false) {
  Many const m = many(op, x, options, false, two);
  check_some(op, m);
  size_t const last = m.axes.size() - 1;
  return complex_axes(op, real_transform(op, x, at(m, last, options.norm), inverse), m, last, options.norm, inverse);
}

/// The others, then the last axis to real.
Tensor hermitian_many(char const* op, Tensor const& x, FftnOptions const& options, bool inverse, bool two = false) {
  Tensor const pairs = checked_pairs(op, x);
  Many const m = many(op, pairs, options, true, two);
  check_some(op, m);
  size_t const last = m.axes.size() - 1;
  return hermitian_transform(op, complex_axes(op, pairs, m, last, options.norm, inverse), at(m, last, options.norm),
                             inverse);
}

}  // namespace

Tensor fftn(Tensor const& x, FftnOptions options) { return complex_many("fftn", x, options, false); }
Tensor ifftn(Tensor const& x, FftnOptions options) { return complex_many("ifftn", x, options, true); }
Tensor rfftn(Tensor const& x, FftnOptions options) { return real_many("rfftn", x, options, false); }
Tensor ihfftn(Tensor const& x, FftnOptions options) { return real_many("ihfftn", x, options, true); }
Tensor irfftn(Tensor const& x, FftnOptions options) { return hermitian_many("irfftn", x, options, true); }
Tensor hfftn(Tensor const& x, FftnOptions options) { return hermitian_many("hfftn", x, options, false); }
Tensor fft2(Tensor const& x, FftnOptions options) { return complex_many("fft2", x, options, false, true); }
Tensor ifft2(Tensor const& x, FftnOptions options) { return complex_many("ifft2", x, options, true, true); }
Tensor rfft2(Tensor const& x, FftnOptions options) { return real_many("rfft2", x, options, false, true); }
Tensor ihfft2(Tensor const& x, FftnOptions options) { return real_many("ihfft2", x, options, true, true); }
Tensor irfft2(Tensor const& x, FftnOptions options) { return hermitian_many("irfft2", x, options, true, true); }
Tensor hfft2(Tensor const& x, FftnOptions options) { return hermitian_many("hfft2", x, options, false, true); }

namespace {

void check_frequencies(char const* op, int64_t n, double spacing) {
  check(n >= 1 && spacing != 0, op, [&] {
    return Complaint{fmt::format("expected n >= 1 and a spacing other than 0, got {} and {}", n, spacing),
                     "pass the length of the transform"};
  });
}

Tensor frequencies(int64_t from, int64_t to, double step, Dtype dtype) {
  return (arange(from, to).to(Dtype::f64) * step).to(dtype);
}

/// Rolled by `by` along `axis`, 0 ≤ by ≤ size.
Tensor rolled(Tensor const& x, int axis, int64_t by) {
  int64_t const n = x.shape()[axis];
  return cat({x.slice(axis, n - by, n), x.slice(axis, 0, n - by)}, axis);
}

Tensor shifted(char const* op, Tensor const& x, Dims axes, int64_t up) {
  check_defined(op, x);
  if (axes.rank() == 0)
    for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  Tensor y = x;
  for (int64_t axis : axes) {
    int const a = normalize_axis(op, int(axis), x.rank());
    y = rolled(y, a, (x.shape()[a] + up) / 2);
  }
  return y;
}

}  // namespace

Tensor fftfreq(int64_t n, double spacing, Dtype dtype) {
  check_frequencies("fftfreq", n, spacing);
  double const step = 1 / (double(n) * spacing);
  return cat({frequencies(0, (n + 1) / 2, step, dtype), frequencies(-(n / 2), 0, step, dtype)});
}

Tensor rfftfreq(int64_t n, double spacing, Dtype dtype) {
  check_frequencies("rfftfreq", n, spacing);
  return frequencies(0, n / 2 + 1, 1 / (double(n) * spacing), dtype);
}

Tensor fftshift(Tensor const& x, Dims const& axes) { return shifted("fftshift", x, axes, 0); }
Tensor ifftshift(Tensor const& x, Dims const& axes) { return shifted("ifftshift", x, axes, 1); }

Tensor complex(Tensor const& re, Tensor const& im) {
  Tensor const x = floating("complex", re);
  if (!im.defined()) return stack({x, zeros_like(x)}, -1);
  Shape const shape = broadcast("complex", re.shape(), im.shape());
  return stack({x.expand(shape), floating("complex", im).expand(shape)}, -1);
}

Tensor complex_mul(Tensor const& a, Tensor const& b) {
  Tensor const x = checked_pairs("complex_mul", a), y = checked_pairs("complex_mul", b);
  Tensor const xr = x.select(-1, 0), xi = x.select(-1, 1), yr = y.select(-1, 0), yi = y.select(-1, 1);
  return stack({xr * yr - xi * yi, xr * yi + xi * yr}, -1);
}

namespace {

/// The smallest even 2ᵃ·3ᵇ·5ᶜ ≥ n
int64_t good_length(int64_t n) {
  auto const smooth = [](int64_t m) {
    for (int64_t prime : {2, 3, 5})
      while (m % prime == 0) m /= prime;
    return m == 1;
  };
  for (n += n % 2; !smooth(n);) n += 2;
  return n;
}

}  // namespace

Tensor fft_convolve(Tensor const& x, Tensor const& kernel) {
  check_defined("fft_convolve", x);
  check_defined("fft_convolve", kernel);
  check(x.rank() >= 1 && kernel.rank() >= 1, "fft_convolve", [&] {
    return Complaint{fmt::format("expected at least one axis each, got shapes {} and {}", to_string(x.shape()),
                                 to_string(kernel.shape())),
                     "pass [.., T] and [.., K]"};
  });
  Dtype const dtype = promote(x.dtype(), kernel.dtype());
  Tensor const signal = floating("fft_convolve", x.to(dtype)), taps = floating("fft_convolve", kernel.to(dtype));
  int64_t const t = x.size(-1), k = std::min(kernel.size(-1), t);
  if (k == 0) return signal * sum(taps, {-1}, true) * 0.0;
  int64_t const n = good_length(t + k - 1);
  Tensor const product = complex_mul(rfft(signal, {.n = n}), rfft(taps.slice(-1, 0, k), {.n = n}));
  return irfft(product, {.n = n}).slice(-1, 0, t);
}

}  // namespace heed
