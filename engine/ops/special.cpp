// Rare functions, computed in f64 element by element: kernels for each instruction set would not pay. Slopes are made
// of the functions themselves.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/program.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/parallel.h>
#include <heed/engine/special.h>
#include <heed/engine/tape.h>
#include <math.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

namespace heed {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t grain = 512;  // elements a chunk

/// f(element i) for each i, from and to tensors of one floating type.
template <class F>
void for_elements(char const* op, Tensor const& y, F const& f) {
  dispatch_floating(op, y.dtype(), [&]<class T>(Type<T> type) {
    T* const to = y.data<T>();
    parallel_for(y.numel(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = T(f(type, i));
    });
  });
}

/// f of each element, with `slope` its derivative in ops.
Tensor of_each(char const* op, Tensor const& x, double (*f)(double), Tensor (*slope)(Tensor const&)) {
  check_defined(op, x);
  if (!is_floating(x.dtype())) return of_each(op, x.to(Dtype::f32), f, slope);
  if (is_half(x.dtype())) return through_f32(x, [&](Tensor const& wide) { return of_each(op, wide, f, slope); });
  Tensor const from = x.detach().contiguous();
  Tensor y(x.shape(), x.dtype());
  Observed const watch(op, {&from}, {&y});
  for_elements(op, y, [&]<class T>(Type<T>, int64_t i) { return f(double(from.data<T>()[i])); });
  if (tracked(x))
    record(op, y, {&x},
           [x = Saved(x), slope](Tensor const& g, Node const& node) { return std::array{g * slope(x.get(node))}; });
  return y;
}

// ---- Bessel functions -----------------------------------------------------------------------------------------------

/// eˣ·K_order(x) = ∫₀^∞ e^(−x·(cosh t − 1))·cosh(order·t) dt by the trapezoidal rule: the integrand is analytic in a
/// strip and falls off doubly exponentially, so that the error falls off exponentially in 1/step (Trefethen and
/// Weideman, 2014).
double scaled_k(double x, double order) {
  if (!(x > 0)) return x == 0 ? infinity : nan;
  if (x == infinity) return 0;
  double const step = std::min(0.2, 0.6 / std::sqrt(x));
  double sum = 0.5;
  for (int k = 1;; ++k) {
    double const s = std::sinh(0.5 * k * step), term = std::exp(-2 * x * s * s) * std::cosh(order * k * step);
    if (!(term > 1e-18 * sum)) return step * sum;
    sum += term;
  }
}

/// f/x, and `limit` at 0.
Tensor over(Tensor const& f, Tensor const& x, double limit) {
  Tensor const zero = x == 0.0;
  return where(zero, limit, f / where(zero, 1.0, x));
}

// ---- incomplete gamma functions -------------------------------------------------------------------------------------

/// xᵃ·e⁻ˣ/Γ(a + 1); for large a by Stirling's series, so that no large numbers cancel.
double gamma_term(double a, double x) {
  if (a < 30) return std::exp(a * std::log(x) - x - special::lgamma(a + 1));
  double const distance = (x - a) / a, z = 1 / (a * a);
  double const stirling = (1. / 12 - z * (1. / 360 - z * (1. / 1260 - z / 1680))) / a;
  double const power = std::abs(distance) < 0.5 ? std::log1p(distance) - distance : std::log(x / a) - distance;
  return std::exp(a * power - stirling) / std::sqrt(2 * std::numbers::pi * a);
}

/// Σ xᵏ/((a + 1)·…·(a + k)): the lower function is this times gamma_term (Abramowitz and Stegun 6.5.29).
double lower_series(double a, double x) {
  double sum = 1, term = 1;
  for (double k = 1; term > 1e-17 * sum; ++k) sum += term *= x / (a + k);
  return sum;
}

/// log Γ(1 + a), by its Taylor series −γ·a + Σ ζ(k)·(−a)ᵏ/k (Abramowitz and Stegun 6.1.33) where 1 + a loses a.
double lgamma1p(double a) {
  if (a > 0.03) return special::lgamma(1 + a);
  constexpr double terms[] = {0.100099457512781809, 0.111334265869564690, 0.125509669524743042, 0.144049896768846118,
                              0.169557176997408190, 0.207385551028673985, 0.270580808427784548, 0.400685634386531428,
                              0.822467033424113218, 0.577215664901532861};
  double sum = 0;
  for (double const term : terms) sum = term - a * sum;
  return -a * sum;
}

/// The upper function for small x and a: 1 − xᵃ/Γ(a + 1) + xᵃ/Γ(a)·Σ (−1)ᵏ⁺¹·xᵏ/(k!·(a + k)).
double upper_series(double a, double x) {
  double sum = 0, term = 1;
  for (int k = 1; k < 60; ++k) sum += (term *= -x / k) / (a + k);
  double const log_power = a * std::log(x), log_gamma = lgamma1p(a);
  return -std::expm1(log_power - log_gamma) - a * std::exp(log_power - log_gamma) * sum;
}

/// The upper function for x > a by its continued fraction (Abramowitz and Stegun 6.5.31), with Lentz's method.
double upper_fraction(double a, double x) {
  double b = x + 1 - a, c = 1e300, d = 1 / b, product = d;
  for (double k = 1; k < 1e5; ++k) {
    double const numerator = k * (a - k);
    b += 2;
    d = 1 / (numerator * d + b);
    c = b + numerator / c;
    product *= c * d;
    if (std::abs(c * d - 1) < 1e-16) break;
  }
  return gamma_term(a, x) * a * product;
}

/// Either function for large a, where the others need √a terms: ½·erfc(±η·√(a/2)) ± e^(−aη²/2)/√(2πa)·(1/μ − 1/η),
/// μ = x/a − 1, η²/2 = μ − log(1 + μ), with an error below 1/a^1.5 (Temme, 1979).
double uniform_expansion(double a, double x, bool upper) {
  double const mu = (x - a) / a;
  double const half =
      std::abs(mu) < 1e-3 ? mu * mu * (0.5 - mu * (1. / 3 - mu * (0.25 - mu / 5))) : mu - std::log1p(mu);
  double const eta = std::copysign(std::sqrt(2 * half), mu), at = eta * std::sqrt(a / 2);
  double const first = std::abs(eta) < 1e-3 ? eta / 12 - 1. / 3 : 1 / mu - 1 / eta;
  double const rest = std::exp(-a * half) / std::sqrt(2 * std::numbers::pi * a) * first;
  return upper ? 0.5 * std::erfc(at) + rest : 0.5 * std::erfc(-at) - rest;
}

/// The lower or the upper function: whichever is computed without cancellation, or 1 minus the other.
double incomplete_gamma(double a, double x, bool upper) {
  if (!(a >= 0 && x >= 0)) return nan;
  if (a == 0) return x > 0 ? double(!upper) : nan;
  if (x == 0) return upper;
  if (a == infinity) return x == infinity ? nan : double(upper);
  if (x == infinity) return !upper;
  if (a > 1e6) return uniform_expansion(a, x, upper);
  bool const small = x <= 1.1 && a < (x <= 0.5 ? -0.4 / std::log(x) : 1.1 * x);
  if (small || (x > 1.1 && x > a)) {
    double const q = small ? upper_series(a, x) : upper_fraction(a, x);
    return upper ? q : 1 - q;
  }
  double const p = gamma_term(a, x) * lower_series(a, x);
  return upper ? 1 - p : p;
}

Tensor incomplete_gamma(char const* op, Tensor const& a, Tensor const& x, bool upper) {
  check_defined(op, a);
  check_defined(op, x);
  Dtype const dtype = result_type(a, x);
  if (!is_floating(dtype)) return incomplete_gamma(op, a.to(Dtype::f32), x.to(Dtype::f32), upper);
  if (is_half(dtype)) return incomplete_gamma(op, a.to(Dtype::f32), x.to(Dtype::f32), upper).to(dtype);
  no_gradient(op, {a});
  Shape const common = broadcast(op, a.shape(), x.shape());
  Tensor const limits = x.to(dtype).expand(common);
  Tensor const shape = a.detach().to(dtype).expand(common).contiguous(), limit = limits.detach().contiguous();
  Tensor y(common, dtype);
  Observed const watch(op, {&shape, &limit}, {&y});
  for_elements(op, y, [&]<class T>(Type<T>, int64_t i) {
    return incomplete_gamma(double(shape.data<T>()[i]), double(limit.data<T>()[i]), upper);
  });
  if (tracked(x))
    record(op, y, {&limits}, [a = Saved(shape), x = Saved(limits), upper](Tensor const& g, Node const& node) {
      Tensor const order = a.get(node), at = x.get(node);
      Tensor const density = exp(xlogy(order - 1.0, at) - at - lgamma(order));
      return std::array{upper ? -(g * density) : g * density};
    });
  return y;
}

// ---- orthogonal polynomials -----------------------------------------------------------------------------------------

/// P_{k+1} = (slope·x + offset)·P_k − before·P_{k−1}, from P_0 = 1 and P_{−1} = 0.
struct Step {
  double slope, offset, before;
};
using Recurrence = Step (*)(double k);
constexpr double none = -0.;  // an offset that leaves the sign of zeros
constexpr int64_t longest_program = 1000, highest_degree = 1 << 24;

/// The derivative of this order, for degrees that differ. Each derivative follows from those of one order less:
/// P⁽ᵐ⁾_{k+1} = (slope·x + offset)·P⁽ᵐ⁾_k + m·slope·P⁽ᵐ⁻¹⁾_k − before·P⁽ᵐ⁾_{k−1}.
Tensor polynomial(char const* op, Tensor const& x, Tensor const& n, Recurrence recurrence, int order = 0) {
  check_defined(op, x);
  check_defined(op, n);
  no_gradient(op, {n});
  Dtype const dtype = result_type(x, n);
  Tensor const whole = n.detach().to(Dtype::i64);
  if (!is_floating(dtype)) return polynomial(op, x.to(Dtype::f32), whole, recurrence, order);
  if (is_half(dtype)) return polynomial(op, x.to(Dtype::f32), whole, recurrence, order).to(dtype);
  Shape const common = broadcast(op, x.shape(), n.shape());
  int64_t const highest = whole.numel() ? max(whole).item<int64_t>() : 0;
  check(highest <= highest_degree, op, [&] {
    return Complaint{fmt::format("expected degrees of up to {}, got {}", highest_degree, highest),
                     "pass the degrees of the polynomials"};
  });
  Tensor const points = x.to(dtype).expand(common);
  Tensor const at = points.detach().contiguous(), degree = whole.expand(common).contiguous();
  Tensor y(common, dtype);
  Observed const watch(op, {&at, &degree}, {&y});
  dispatch_floating(op, dtype, [&]<class T>(Type<T>) {
    parallel_for(y.numel(), grain, [&](int64_t begin, int64_t end) {
      std::vector<double> here(size_t(order) + 1), before(here.size());  // by order
      for (int64_t i = begin; i < end; ++i) {
        double const here_x = double(at.data<T>()[i]);
        int64_t const last = degree.data<int64_t>()[i];
        std::fill(here.begin(), here.end(), 0.);
        std::fill(before.begin(), before.end(), 0.);
        here[0] = last >= 0;
        for (int64_t k = 0; k < last; ++k) {
          Step const step = recurrence(double(k));
          double const factor = step.slope * here_x + step.offset;
          for (size_t m = here.size(); m-- > 0;) {
            double next = factor * here[m] - step.before * before[m];
            if (m > 0) next += double(m) * step.slope * here[m - 1];
            before[m] = std::exchange(here[m], next);
          }
        }
        y.data<T>()[i] = T(here.back());
      }
    });
  });
  if (tracked(points))
    record(op, y, {&points},
           [op, x = Saved(points), n = Saved(degree), recurrence, order](Tensor const& g, Node const& node) {
             return std::array{g * polynomial(op, x.get(node), n.get(node), recurrence, order + 1)};
           });
  return y;
}

/// Of one degree for all: as a program, in which the steps are vectors'.
Tensor polynomial(char const* op, Tensor const& x, int64_t n, Recurrence recurrence) {
  check_defined(op, x);
  check(n >= 0 && n <= highest_degree, op, [&] {
    return Complaint{fmt::format("expected a degree of 0 to {}, got {}", highest_degree, n),
                     "pass the degree of the polynomial"};
  });
  if (n == 0 || n > longest_program) return polynomial(op, x, scalar(n, Dtype::i64), recurrence);
  auto const program = record_program(1, [&](std::vector<Symbol> const& in) -> Symbol {
    Symbol before = 0., here = 1.;
    for (int64_t k = 0; k < n; ++k) {
      Step const step = recurrence(double(k));
      before = std::exchange(here, (step.slope * in[0] + step.offset) * here - step.before * before);
    }
    return here;
  });
  return run_program(op, program, {x})[0];
}

}  // namespace

Tensor bessel_j0(Tensor const& x) {
  return of_each("bessel_j0", x, ::j0, [](Tensor const& at) { return -bessel_j1(at); });
}
Tensor bessel_j1(Tensor const& x) {
  return of_each("bessel_j1", x, ::j1, [](Tensor const& at) { return bessel_j0(at) - over(bessel_j1(at), at, 0.5); });
}
Tensor bessel_y0(Tensor const& x) {
  return of_each("bessel_y0", x, ::y0, [](Tensor const& at) { return -bessel_y1(at); });
}
Tensor bessel_y1(Tensor const& x) {
  return of_each("bessel_y1", x, ::y1, [](Tensor const& at) { return bessel_y0(at) - bessel_y1(at) / at; });
}
Tensor spherical_bessel_j0(Tensor const& x) {
  // At its limits the divisor of the branch not taken is 1, so that slopes stay numbers.
  static auto const program = record_program(1, [](std::vector<Symbol> const& in) -> Symbol {
    Symbol const at = in[0];
    SymbolMask const zero = at == 0., far = abs(at) == infinity;
    Symbol const inner = select(zero | far, 1., at);
    return select(zero, 1., select(far, 0., sin(inner) / inner));
  });
  return run_program("spherical_bessel_j0", program, {x})[0];
}
Tensor modified_bessel_k0(Tensor const& x) {
  return of_each(
      "modified_bessel_k0", x, [](double at) { return std::exp(-at) * scaled_k(at, 0); },
      [](Tensor const& at) { return -modified_bessel_k1(at); });
}
Tensor modified_bessel_k1(Tensor const& x) {
  return of_each(
      "modified_bessel_k1", x, [](double at) { return std::exp(-at) * scaled_k(at, 1); },
      [](Tensor const& at) { return -modified_bessel_k0(at) - modified_bessel_k1(at) / at; });
}
Tensor scaled_modified_bessel_k0(Tensor const& x) {
  return of_each(
      "scaled_modified_bessel_k0", x, [](double at) { return scaled_k(at, 0); },
      [](Tensor const& at) { return scaled_modified_bessel_k0(at) - scaled_modified_bessel_k1(at); });
}
Tensor scaled_modified_bessel_k1(Tensor const& x) {
  return of_each(
      "scaled_modified_bessel_k1", x, [](double at) { return scaled_k(at, 1); },
      [](Tensor const& at) {
        Tensor const y = scaled_modified_bessel_k1(at);
        return y - scaled_modified_bessel_k0(at) - y / at;
      });
}

Tensor igamma(Tensor const& a, Tensor const& x) { return incomplete_gamma("igamma", a, x, false); }
Tensor igammac(Tensor const& a, Tensor const& x) { return incomplete_gamma("igammac", a, x, true); }

std::pair<Tensor, Tensor> frexp(Tensor const& x) {
  check_defined("frexp", x);
  if (!is_floating(x.dtype())) detail::unsupported_dtype("frexp", x.dtype(), "a floating type");
  if (is_half(x.dtype())) {
    auto const [mantissa, exponent] = frexp(x.to(Dtype::f32));
    return {mantissa.to(x.dtype()), exponent};
  }
  Tensor const from = x.detach().contiguous();
  Tensor mantissa(x.shape(), x.dtype()), exponent(x.shape(), Dtype::i32);
  Observed const watch("frexp", {&from}, {&mantissa, &exponent});
  for_elements("frexp", mantissa, [&]<class T>(Type<T>, int64_t i) {
    T const v = from.data<T>()[i];
    int e = 0;
    T const m = std::isfinite(v) ? std::frexp(v, &e) : v;
    exponent.data<int32_t>()[i] = e;
    return m;
  });
  if (tracked(x))
    record("frexp", mantissa, {&x},
           [e = Saved(exponent)](Tensor const& g, Node const& node) { return std::array{ldexp(g, -e.get(node))}; });
  return {mantissa, exponent};
}

// A polynomial by the Step from its degree k to the next.
#define HEED_POLYNOMIAL(name, ...)                                                         \
  namespace {                                                                              \
  Step name##_step([[maybe_unused]] double k) { return {__VA_ARGS__}; }                    \
  }                                                                                        \
  Tensor name(Tensor const& x, int64_t n) { return polynomial(#name, x, n, name##_step); } \
  Tensor name(Tensor const& x, Tensor const& n) { return polynomial(#name, x, n, name##_step); }

HEED_POLYNOMIAL(chebyshev_polynomial_t, k == 0 ? 1. : 2., none, 1)
HEED_POLYNOMIAL(chebyshev_polynomial_u, 2, none, 1)
HEED_POLYNOMIAL(chebyshev_polynomial_v, 2, k == 0 ? -1. : none, 1)
HEED_POLYNOMIAL(chebyshev_polynomial_w, 2, k == 0 ? 1. : none, 1)
HEED_POLYNOMIAL(shifted_chebyshev_polynomial_t, k == 0 ? 2. : 4., k == 0 ? -1. : -2., 1)
HEED_POLYNOMIAL(shifted_chebyshev_polynomial_u, 4, -2, 1)
HEED_POLYNOMIAL(shifted_chebyshev_polynomial_v, 4, k == 0 ? -3. : -2., 1)
HEED_POLYNOMIAL(shifted_chebyshev_polynomial_w, 4, k == 0 ? -1. : -2., 1)
HEED_POLYNOMIAL(hermite_polynomial_h, 2, none, 2 * k)
HEED_POLYNOMIAL(hermite_polynomial_he, 1, none, k)
HEED_POLYNOMIAL(laguerre_polynomial_l, -1 / (k + 1), (2 * k + 1) / (k + 1), k / (k + 1))
HEED_POLYNOMIAL(legendre_polynomial_p, (2 * k + 1) / (k + 1), none, k / (k + 1))

}  // namespace heed
