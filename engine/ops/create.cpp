// Tensors from nothing: constants, ranges, values.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/ops/integer.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace heed {

Tensor empty(Shape const& shape, Dtype dtype, Device device) { return Tensor(shape, dtype, device); }

Tensor full(Shape const& shape, Number value, Dtype dtype, Device device) {
  Tensor y(shape, dtype, device);
  return y.fill_(value);
}

Tensor& Tensor::fill_(Number value) {
  check_defined("fill_", *this);
  if (tracked(*this)) check_in_place("fill_", *this);
  if (!is_contiguous() || (tracked(*this) && body_->is_view)) return copy_(full(shape(), value, dtype(), device()));
  Observed const watch("fill", {}, {this});
  dispatch(dtype(), [&]<class T>(Type<T>) {
    T const element = value.to<T>();
    if (numel() > 0) kernels<CopyKernels>(device(), "fill_").fill(&element, address(), numel(), sizeof(T));
  });
  storage().bump_version();
  if (recording()) body_->node = {};
  return *this;
}

Tensor zeros(Shape const& shape, Dtype dtype, Device device) { return full(shape, 0, dtype, device); }
Tensor ones(Shape const& shape, Dtype dtype, Device device) { return full(shape, 1, dtype, device); }
Tensor zeros_like(Tensor const& x) { return full(x.shape(), 0, x.dtype(), x.device()); }
Tensor ones_like(Tensor const& x) { return full(x.shape(), 1, x.dtype(), x.device()); }
Tensor empty_like(Tensor const& x) { return Tensor(x.shape(), x.dtype(), x.device()); }
Tensor full_like(Tensor const& x, Number value) { return full(x.shape(), value, x.dtype(), x.device()); }
Tensor scalar(Number value, Dtype dtype) { return full({}, value, dtype); }

namespace {

/// f(i) for i in [0, n), in f64, then as `dtype`.
template <class F>
Tensor sequence(char const* op, int64_t n, Dtype dtype, F f) {
  Tensor y({n}, dtype);
  Observed const watch(op, {}, {&y});
  dispatch(dtype, [&]<class T>(Type<T>) {
    T* const out = y.data<T>();
    for (int64_t i = 0; i < n; ++i) {
      auto const value = f(i);
      if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>)
        out[i] = T(int64_t(value));
      else
        out[i] = T(value);
    }
  });
  return y;
}

/// from + i·step on an accelerator, in V, then as `dtype`.
template <class V>
Tensor device_range(char const* op, V from, V step, int64_t n, Dtype dtype, Device device) {
  Tensor y({n}, dtype_of<V>, device);
  Observed const watch(op, {}, {&y});
  auto const& kernels = device_kernels<WholeKernels>(device, op);
  if constexpr (std::is_same_v<V, int64_t>)
    kernels.range(from, step, y.address<V>(), n);
  else
    kernels.real_range(from, step, y.address<V>(), n);
  return y.to(dtype);
}

template <class V>
Tensor range(char const* op, V from, V step, int64_t n, Dtype dtype, Device device) {
  if (!device.is_cpu()) return device_range(op, from, step, n, dtype, device);
  return sequence(op, n, dtype, [=](int64_t i) { return from + V(i) * step; });
}

}  // namespace

Tensor arange(int64_t from, int64_t to, int64_t step, Dtype dtype, Device device) {
  check(step != 0, "arange", [] {
    return Complaint{"expected a step other than 0", "pass a positive or negative step"};
  });
  int64_t const span = step > 0 ? to - from : from - to, width = step > 0 ? step : -step;
  return range("arange", from, step, span <= 0 ? 0 : (span + width - 1) / width, dtype, device);
}

Tensor detail::arange_of(double from, double to, double step, Dtype dtype, Device device) {
  double const count = std::ceil((to - from) / step);
  check(step != 0 && std::isfinite(count) && std::isfinite(from) && count < 0x1p60, "arange", [&] {
    return Complaint{fmt::format("expected finite ends and a step other than 0, got {}, {}, {}", from, to, step),
                     "pass a positive or negative step"};
  });
  return range("arange", from, step, std::max(int64_t(count), int64_t{0}), dtype, device);
}

Tensor eye(int64_t n, int64_t m, Dtype dtype, Device device) {
  if (m == -1) m = n;
  Tensor y = zeros({n, m}, dtype, device);
  diagonal(y).fill_(1);
  return y;
}

namespace {

void check_steps(char const* op, int64_t n) {
  check(n >= 0, op, [&] {
    return Complaint{fmt::format("expected 0 elements or more, got {}", n), "pass the number of elements"};
  });
}

/// From both ends, so that both are exact.
double spaced(double from, double to, int64_t steps, int64_t i) {
  if (steps == 1) return from;
  double const step = (to - from) / double(steps - 1);
  return i < steps / 2 ? from + step * double(i) : to - step * double(steps - 1 - i);
}

}  // namespace

namespace {
/// The bounds of a sequence of integers are integers, as in PyTorch.
double bound(double value, Dtype dtype) { return is_floating(dtype) ? value : std::trunc(value); }
}  // namespace

Tensor linspace(double from, double to, int64_t steps, Dtype dtype, Device device) {
  check_steps("linspace", steps);
  from = bound(from, dtype), to = bound(to, dtype);
  if (device.is_cpu()) return sequence("linspace", steps, dtype, [=](int64_t i) { return spaced(from, to, steps, i); });
  double const step = steps == 1 ? 0 : (to - from) / double(steps - 1);
  Tensor const up = device_range("linspace", from, step, steps, Dtype::f64, device);
  if (steps < 2) return up.to(dtype);
  Tensor const left = device_range("linspace", double(steps - 1), -1., steps, Dtype::f64, device);
  return where(arange(steps, device) < steps / 2, up, to - step * left).to(dtype);
}

Tensor logspace(double from, double to, int64_t steps, double base, Dtype dtype, Device device) {
  check_steps("logspace", steps);
  from = bound(from, dtype), to = bound(to, dtype);
  if (!device.is_cpu()) return pow(base, linspace(from, to, steps, Dtype::f64, device)).to(dtype);
  return sequence("logspace", steps, dtype, [=](int64_t i) { return std::pow(base, spaced(from, to, steps, i)); });
}

Tensor linspace(Tensor const& from, Tensor const& to, int64_t steps) {
  check_defined("linspace", from);
  check_defined("linspace", to);
  Dtype const common = result_type(from, to), dtype = is_floating(common) ? common : Dtype::f32;
  Dims along_first = Dims::filled(1 + std::max(from.rank(), to.rank()), 1);
  along_first[0] = steps;
  return lerp(from.to(dtype), to.to(dtype),
              linspace(0, 1, steps, dtype, common_device("linspace", {&from, &to})).reshape(along_first));
}
Tensor logspace(Tensor const& from, Tensor const& to, int64_t steps, double base) {
  return pow(base, linspace(from, to, steps));
}

namespace {

Tensor triangle_indices(char const* op, int64_t rows, int64_t columns, int64_t offset, bool lower) {
  check(rows >= 0 && columns >= 0, op, [&] {
    return Complaint{fmt::format("expected sizes of 0 or more, got {} and {}", rows, columns), "pass a matrix's sizes"};
  });
  int64_t const far = std::clamp(offset, -rows, columns);
  numel({2, rows, columns});  // an Error where it overflows
  auto const edge = [&](int64_t row) { return std::clamp(row + far + lower, int64_t{0}, columns); };
  int64_t n = 0;
  for (int64_t row = 0; row < rows; ++row) n += lower ? edge(row) : columns - edge(row);
  Tensor const y({2, n}, Dtype::i64);
  int64_t* to = y.data<int64_t>();
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = lower ? 0 : edge(row), end = lower ? edge(row) : columns; c < end; ++c, ++to) {
      to[0] = row;
      to[n] = c;
    }
  return y;
}

}  // namespace

Tensor tril_indices(int64_t rows, int64_t columns, int64_t offset, Device device) {
  return triangle_indices("tril_indices", rows, columns, offset, true).to(device);
}

Tensor triu_indices(int64_t rows, int64_t columns, int64_t offset, Device device) {
  return triangle_indices("triu_indices", rows, columns, offset, false).to(device);
}

Tensor vander(Tensor const& x, int64_t columns, bool increasing) {
  check_defined("vander", x);
  check(x.rank() > 0 && columns >= -1, "vander", [&] {
    return Complaint{fmt::format("expected rank 1 or more and 0 columns or more, got shape {} and {}",
                                 to_string(x.shape()), columns),
                     "give the points along an axis; -1 columns are as many as points"};
  });
  if (!is_floating(x.dtype()) && x.dtype() != Dtype::i64) return vander(x.to(Dtype::i64), columns, increasing);
  int64_t const n = columns == -1 ? x.size(-1) : columns;
  Shape shape = x.shape();
  shape.push_back(n);
  if (numel(shape) == 0) return empty(shape, x.dtype(), x.device());
  std::vector<Tensor> powers = {ones_like(x)};
  while (int64_t(powers.size()) < n) powers.push_back(powers.size() == 1 ? x : powers.back() * x);
  if (!increasing) std::reverse(powers.begin(), powers.end());
  return stack(powers, -1);
}

// ---- windows --------------------------------------------------------------------------------------------------------

namespace windows {
namespace {

constexpr double pi = 3.14159265358979323846;

/// f(n, last): last is size − 1, or size for a window that is not symmetric. One element is in the middle.
template <class F>
Tensor window(char const* op, int64_t size, bool symmetric, Dtype dtype, F f) {
  if (!is_floating(dtype)) detail::unsupported_dtype(op, dtype, "a floating type");
  check_steps(op, size);
  double const last = double(size - symmetric);
  return sequence(op, size, dtype, [&](int64_t i) { return size == 1 ? f(0.5, 1) : f(double(i), last); });
}

/// Σ (x/2)^2k/(k!)²: the modified Bessel function of order 0
double bessel_i0(double x) {
  double sum = 1, term = 1;
  for (int k = 1; term > sum * 1e-17; ++k) {
    term *= x * x / (4.0 * k * k);
    sum += term;
  }
  return sum;
}

}  // namespace

Tensor general_cosine(int64_t size, std::vector<double> const& a, bool symmetric, Dtype dtype) {
  check(!a.empty(), "general_cosine", [] {
    return Complaint{"expected at least one weight, got none", "pass the weights of the cosines"};
  });
  return window("general_cosine", size, symmetric, dtype, [&](double n, double last) {
    if (size == 1) return 1.0;
    double sum = 0;
    for (size_t k = 0; k < a.size(); ++k) sum += (k % 2 ? -a[k] : a[k]) * std::cos(2 * pi * double(k) * n / last);
    return sum;
  });
}

Tensor general_hamming(int64_t size, double alpha, bool symmetric, Dtype dtype) {
  return general_cosine(size, {alpha, 1 - alpha}, symmetric, dtype);
}
Tensor hann(int64_t size, bool symmetric, Dtype dtype) { return general_hamming(size, 0.5, symmetric, dtype); }
Tensor hamming(int64_t size, bool symmetric, Dtype dtype) { return general_hamming(size, 0.54, symmetric, dtype); }
Tensor blackman(int64_t size, bool symmetric, Dtype dtype) {
  return general_cosine(size, {0.42, 0.5, 0.08}, symmetric, dtype);
}
Tensor nuttall(int64_t size, bool symmetric, Dtype dtype) {
  return general_cosine(size, {0.3635819, 0.4891775, 0.1365995, 0.0106411}, symmetric, dtype);
}

Tensor bartlett(int64_t size, bool symmetric, Dtype dtype) {
  return window("bartlett", size, symmetric, dtype,
                [](double n, double last) { return 1 - std::abs(2 * n / last - 1); });
}

Tensor cosine(int64_t size, bool symmetric, Dtype dtype) {
  return window("cosine", size, symmetric, dtype,
                [](double n, double last) { return std::sin(pi * (n + 0.5) / (last + 1)); });
}

Tensor kaiser(int64_t size, double beta, bool symmetric, Dtype dtype) {
  check(beta >= 0 && beta <= 700, "kaiser", [&] {
    return Complaint{fmt::format("expected a beta from 0 to 700, got {}", beta), "choose the shape between these"};
  });
  return window("kaiser", size, symmetric, dtype, [=](double n, double last) {
    double const r = 2 * n / last - 1;
    return bessel_i0(beta * std::sqrt(std::max(1 - r * r, 0.0))) / bessel_i0(beta);
  });
}

Tensor gaussian(int64_t size, double std, bool symmetric, Dtype dtype) {
  check(std > 0, "gaussian", [&] {
    return Complaint{fmt::format("expected a standard deviation above 0, got {}", std), "pass a positive width"};
  });
  return window("gaussian", size, symmetric, dtype, [=](double n, double last) {
    double const z = (n - last / 2) / std;
    return std::exp(-z * z / 2);
  });
}

Tensor exponential(int64_t size, double tau, bool symmetric, std::optional<double> center, Dtype dtype) {
  check(tau > 0 && !(symmetric && center), "exponential", [&] {
    return Complaint{fmt::format("expected a decay above 0, and a centre for asymmetric windows only, got {}", tau),
                     "leave the centre out, or pass symmetric = false"};
  });
  return window("exponential", size, symmetric, dtype, [=](double n, double last) {
    return std::exp(-std::abs(center && size == 1 ? *center : n - center.value_or(last / 2)) / tau);
  });
}

}  // namespace windows

template <class T>
Tensor tensor(std::span<T const> values, Shape const& shape) {
  check(numel(shape) == int64_t(values.size()), "tensor", [&] {
    return Complaint{fmt::format("shape {} needs {} values, got {}", to_string(shape), numel(shape), values.size()),
                     "make the product of the sizes equal to the number of values"};
  });
  Tensor y(shape, dtype_of<T>);
  if (!values.empty()) std::memcpy(y.raw(), values.data(), values.size_bytes());
  return y;
}
template Tensor tensor(std::span<float const>, Shape const&);
template Tensor tensor(std::span<double const>, Shape const&);
template Tensor tensor(std::span<int32_t const>, Shape const&);
template Tensor tensor(std::span<int64_t const>, Shape const&);
template Tensor tensor(std::span<int8_t const>, Shape const&);
template Tensor tensor(std::span<int16_t const>, Shape const&);
template Tensor tensor(std::span<uint8_t const>, Shape const&);

Tensor tensor(std::initializer_list<float> values) {
  return tensor(std::span<float const>(values.begin(), values.size()), {int64_t(values.size())});
}

Tensor tensor(std::initializer_list<std::initializer_list<float>> rows) {
  std::vector<Tensor> parts;
  for (auto const& row : rows) parts.push_back(tensor(row));
  return stack(parts);
}

}  // namespace heed
