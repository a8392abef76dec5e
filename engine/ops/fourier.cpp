// Plans: how a length is factored, and the roots of unity that it needs.
#include <heed/engine/backend.h>
#include <heed/engine/ops/fourier.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <tuple>

namespace heed {
namespace fourier {
namespace {

Root root(int64_t k, int64_t n) {
  return fourier::root(k, n, [](double x, double of) {
    double const angle = std::numbers::pi * x / of;
    return Root{std::cos(angle), std::sin(angle)};
  });
}

template <class T>
Passes<T> passes(int64_t n) {
  Passes<T> p;
  p.n = n;
  p.radices = radices_of(n);
  int64_t length = n;
  for (int radix : p.radices) {
    for (int64_t k = 0; k < length / radix; ++k)
      for (int j = 1; j < radix; ++j) {
        Root const w = root(k * j, length);
        p.twiddles.push_back(T(w.re));
        p.twiddles.push_back(T(w.im));
      }
    length /= radix;
  }
  return p;
}

/// Plans are kept, up to a number of them.
template <class T>
std::shared_ptr<Plan<T> const> plan_of(int64_t n, bool by_line = true);

template <class T>
void prepare_bluestein(Plan<T>& plan) {
  int64_t const n = plan.n, least = 2 * n - 1;
  int64_t const m = smooth_from(least, least < 64 ? 1 : 64);  // so that registers are full
  plan.inner = plan_of<double>(m);
  plan.chirp.resize(size_t(2 * n));
  plan.filter.resize(size_t(2 * m));
  double* const filter = plan.filter.data();
  int64_t square = 0;  // k² mod 2n
  for (int64_t k = 0; k < n; ++k) {
    Root const c = root(square, 2 * n);
    plan.chirp[size_t(k)] = c.re;
    plan.chirp[size_t(n + k)] = c.im;
    for (int64_t at : {k, (m - k) % m}) {
      filter[at] = c.re / double(m);
      filter[m + at] = -c.im / double(m);
    }
    square = (square + 2 * k + 1) % (2 * n);
  }
  kernels<FourierKernels>().f64.split_line(*plan.inner, filter, filter + m, filter, filter + m);
}

template <class T>
Plan<T> make_plan(int64_t n, bool by_line) {
  int64_t const width = kernels<FourierKernels>().of<T>().width;
  Plan<T> plan;
  plan.n = n;
  for (int64_t k = 0; k <= n; ++k) plan.roots.push_back(T(root(k, 2 * n).re));
  for (int64_t k = 0; k <= n; ++k) plan.roots.push_back(T(root(k, 2 * n).im));
  if (without_small_factors(n) != 1) {
    prepare_bluestein(plan);
    return plan;
  }
  int64_t columns = width;
  while (n % columns != 0 || without_small_factors(columns) != 1) --columns;
  int64_t const rows = n / columns;
  if (!by_line || rows < width || 2 * columns < width) {
    plan.down = passes<T>(n);
    return plan;
  }
  plan.columns = columns;
  plan.down = passes<T>(rows);
  plan.across = passes<T>(columns);
  plan.turns.resize(size_t(rows * 2 * width));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      Root const w = root(r * c, n);
      plan.turns[size_t(r * 2 * width + c)] = T(w.re);
      plan.turns[size_t((r * 2 + 1) * width + c)] = T(w.im);
    }
  return plan;
}

template <class T>
std::shared_ptr<Plan<T> const> plan_of(int64_t n, bool by_line) {
  constexpr size_t most = 64;
  using Key = std::tuple<int64_t, int, bool>;
  static std::mutex mutex;
  static std::map<Key, std::shared_ptr<Plan<T> const>> plans;
  Key const key{n, kernels<FourierKernels>().of<T>().width, by_line};
  {
    std::lock_guard const lock(mutex);
    if (auto const found = plans.find(key); found != plans.end()) return found->second;
  }
  auto const made = std::make_shared<Plan<T> const>(make_plan<T>(n, by_line));
  std::lock_guard const lock(mutex);
  if (plans.size() >= most) plans.clear();
  return plans.emplace(key, made).first->second;
}

template <class T>
FourierKernelsOf<T> const& level() {
  return kernels<FourierKernels>().of<T>();
}

template <class T>
void complex(T const* x, T* y, int64_t outer, int64_t n, int64_t inner, bool inverse, double scale) {
  if (inner == 1)
    level<T>().complex_lines(*plan_of<T>(n), x, y, outer, inverse, T(scale));
  else
    level<T>().complex_columns(*plan_of<T>(n, false), x, y, outer, inner, inverse, T(scale));
}

template <class T>
void real(T const* x, T* y, int64_t lines, int64_t n, double scale) {
  level<T>().real_lines(*plan_of<T>(n % 2 ? n : n / 2), x, y, lines, n, T(scale));
}

template <class T>
void hermitian(T const* x, T* y, int64_t lines, int64_t n, double scale) {
  level<T>().hermitian_lines(*plan_of<T>(n % 2 ? n : n / 2), x, y, lines, n, T(scale));
}

template <class T>
constexpr FourierTransformsOf<T> here{complex<T>, real<T>, hermitian<T>};
constexpr FourierTransforms on_processor{{here<float>, here<double>}};

}  // namespace
}  // namespace fourier

FourierTransforms const& fourier_transforms(Device device, std::string_view op) {
  return device.is_cpu() ? fourier::on_processor : device_kernels<FourierTransforms>(device, op);
}

}  // namespace heed
