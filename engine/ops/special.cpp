// Rare functions, computed in f64 element by element: kernels for each instruction set would not pay. Slopes are made
// of the functions themselves.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/program.h>
#include <heed/engine/ops/special.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace heed {
namespace {

using special_formulas::Family;
using special_formulas::Function;
constexpr double infinity = std::numeric_limits<double>::infinity();
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

SpecialKernels const& on_device(char const* op, Tensor const& y) {
  return device_kernels<SpecialKernels>(y.device(), op);
}

/// f of each element, with `slope` its derivative in ops.
Tensor of_each(char const* op, Tensor const& x, Function f, Tensor (*slope)(Tensor const&)) {
  check_defined(op, x);
  if (!is_floating(x.dtype())) return of_each(op, x.to(Dtype::f32), f, slope);
  if (is_half(x.dtype())) return through_f32(x, [&](Tensor const& wide) { return of_each(op, wide, f, slope); });
  Tensor const from = x.detach().contiguous();
  Tensor y(x.shape(), x.dtype(), x.device());
  Observed const watch(op, {&from}, {&y});
  if (x.device().is_cpu())
    for_elements(op, y,
                 [&]<class T>(Type<T>, int64_t i) { return special_formulas::value(f, double(from.data<T>()[i])); });
  else
    on_device(op, y).each(f, y.dtype(), from.address(), y.address(), y.numel());
  if (tracked(x))
    record(op, y, {&x},
           [x = Saved(x), slope](Tensor const& g, Node const& node) { return std::array{g * slope(x.get(node))}; });
  return y;
}

/// f/x, and `limit` at 0.
Tensor over(Tensor const& f, Tensor const& x, double limit) {
  Tensor const zero = x == 0.0;
  return where(zero, limit, f / where(zero, 1.0, x));
}

Tensor incomplete_gamma(char const* op, Tensor const& a, Tensor const& x, bool upper) {
  check_defined(op, a);
  check_defined(op, x);
  Dtype const dtype = result_type(a, x);
  if (!is_floating(dtype)) return incomplete_gamma(op, a.to(Dtype::f32), x.to(Dtype::f32), upper);
  if (is_half(dtype)) return incomplete_gamma(op, a.to(Dtype::f32), x.to(Dtype::f32), upper).to(dtype);
  no_gradient(op, {a});
  Shape const common = broadcast(op, a.shape(), x.shape());
  Device const device = common_device(op, {&a, &x});
  Tensor const limits = x.to(dtype).to(device).expand(common);
  Tensor const shape = a.detach().to(dtype).to(device).expand(common).contiguous(),
               limit = limits.detach().contiguous();
  Tensor y(common, dtype, device);
  Observed const watch(op, {&shape, &limit}, {&y});
  if (device.is_cpu())
    for_elements(op, y, [&]<class T>(Type<T>, int64_t i) {
      return special_formulas::incomplete_gamma(double(shape.data<T>()[i]), double(limit.data<T>()[i]), upper);
    });
  else
    on_device(op, y).gamma(upper, dtype, shape.address(), limit.address(), y.address(), y.numel());
  if (tracked(x))
    record(op, y, {&limits}, [a = Saved(shape), x = Saved(limits), upper](Tensor const& g, Node const& node) {
      Tensor const order = a.get(node), at = x.get(node);
      Tensor const density = exp(xlogy(order - 1.0, at) - at - lgamma(order));
      return std::array{upper ? -(g * density) : g * density};
    });
  return y;
}

// ---- orthogonal polynomials -----------------------------------------------------------------------------------------

constexpr int64_t longest_program = 1000, highest_degree = 1 << 24;

/// The derivative of this order, for degrees that differ.
Tensor polynomial(char const* op, Tensor const& x, Tensor const& n, Family family, int order = 0) {
  check_defined(op, x);
  check_defined(op, n);
  no_gradient(op, {n});
  Dtype const dtype = result_type(x, n);
  Tensor const whole = n.detach().to(Dtype::i64);
  if (!is_floating(dtype)) return polynomial(op, x.to(Dtype::f32), whole, family, order);
  if (is_half(dtype)) return polynomial(op, x.to(Dtype::f32), whole, family, order).to(dtype);
  Shape const common = broadcast(op, x.shape(), n.shape());
  Device const device = common_device(op, {&x, &n});
  int64_t const highest = whole.numel() && whole.device().is_cpu() ? max(whole).item<int64_t>() : 0;
  check(highest <= highest_degree, op, [&] {
    return Complaint{fmt::format("expected degrees of up to {}, got {}", highest_degree, highest),
                     "pass the degrees of the polynomials"};
  });
  Tensor const points = x.to(dtype).to(device).expand(common);
  Tensor const at = points.detach().contiguous(), degree = whole.to(device).expand(common).contiguous();
  Tensor y(common, dtype, device);
  Observed const watch(op, {&at, &degree}, {&y});
  if (!device.is_cpu()) {
    check(order < special_formulas::most_orders, op, [&] {
      return Complaint{
          fmt::format("there is no kernel of derivatives of order {} for {} yet", order, to_string(device)),
          "move the operands to the cpu"};
    });
    on_device(op, y).polynomial(family, order, highest_degree, dtype, at.address(), degree.address<int64_t>(),
                                y.address(), y.numel());
  } else {
    dispatch_floating(op, dtype, [&]<class T>(Type<T>) {
      parallel_for(y.numel(), grain, [&](int64_t begin, int64_t end) {
        std::vector<double> here(size_t(order) + 1), before(here.size());  // by order
        for (int64_t i = begin; i < end; ++i)
          y.data<T>()[i] = T(special_formulas::polynomial(family, order, double(at.data<T>()[i]),
                                                          degree.data<int64_t>()[i], here.data(), before.data()));
      });
    });
  }
  if (tracked(points))
    record(op, y, {&points},
           [op, x = Saved(points), n = Saved(degree), family, order](Tensor const& g, Node const& node) {
             return std::array{g * polynomial(op, x.get(node), n.get(node), family, order + 1)};
           });
  return y;
}

/// Of one degree for all: as a program, in which the steps are vectors'.
Tensor polynomial(char const* op, Tensor const& x, int64_t n, Family family) {
  check_defined(op, x);
  check(n >= 0 && n <= highest_degree, op, [&] {
    return Complaint{fmt::format("expected a degree of 0 to {}, got {}", highest_degree, n),
                     "pass the degree of the polynomial"};
  });
  if (n == 0 || n > longest_program) return polynomial(op, x, scalar(n, Dtype::i64), family);
  auto const program = record_program(1, [&](std::vector<Symbol> const& in) -> Symbol {
    Symbol before = 0., here = 1.;
    for (int64_t k = 0; k < n; ++k) {
      special_formulas::Step const by = special_formulas::step(family, double(k));
      before = std::exchange(here, (by.slope * in[0] + by.offset) * here - by.before * before);
    }
    return here;
  });
  return run_program(op, program, {x})[0];
}

}  // namespace

Tensor bessel_j0(Tensor const& x) {
  return of_each("bessel_j0", x, Function::bessel_j0, [](Tensor const& at) { return -bessel_j1(at); });
}
Tensor bessel_j1(Tensor const& x) {
  return of_each("bessel_j1", x, Function::bessel_j1,
                 [](Tensor const& at) { return bessel_j0(at) - over(bessel_j1(at), at, 0.5); });
}
Tensor bessel_y0(Tensor const& x) {
  return of_each("bessel_y0", x, Function::bessel_y0, [](Tensor const& at) { return -bessel_y1(at); });
}
Tensor bessel_y1(Tensor const& x) {
  return of_each("bessel_y1", x, Function::bessel_y1,
                 [](Tensor const& at) { return bessel_y0(at) - bessel_y1(at) / at; });
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
  return of_each("modified_bessel_k0", x, Function::k0, [](Tensor const& at) { return -modified_bessel_k1(at); });
}
Tensor modified_bessel_k1(Tensor const& x) {
  return of_each("modified_bessel_k1", x, Function::k1,
                 [](Tensor const& at) { return -modified_bessel_k0(at) - modified_bessel_k1(at) / at; });
}
Tensor scaled_modified_bessel_k0(Tensor const& x) {
  return of_each("scaled_modified_bessel_k0", x, Function::scaled_k0,
                 [](Tensor const& at) { return scaled_modified_bessel_k0(at) - scaled_modified_bessel_k1(at); });
}
Tensor scaled_modified_bessel_k1(Tensor const& x) {
  return of_each("scaled_modified_bessel_k1", x, Function::scaled_k1, [](Tensor const& at) {
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
  Tensor mantissa(x.shape(), x.dtype(), x.device()), exponent(x.shape(), Dtype::i32, x.device());
  Observed const watch("frexp", {&from}, {&mantissa, &exponent});
  if (x.device().is_cpu())
    for_elements("frexp", mantissa, [&]<class T>(Type<T>, int64_t i) {
      T const v = from.data<T>()[i];
      int e = 0;
      T const m = std::isfinite(v) ? std::frexp(v, &e) : v;
      exponent.data<int32_t>()[i] = e;
      return m;
    });
  else
    on_device("frexp", mantissa)
        .frexp(x.dtype(), from.address(), mantissa.address(), exponent.address<int32_t>(), x.numel());
  if (tracked(x))
    record("frexp", mantissa, {&x},
           [e = Saved(exponent)](Tensor const& g, Node const& node) { return std::array{ldexp(g, -e.get(node))}; });
  return {mantissa, exponent};
}

#define HEED_POLYNOMIAL(name, family)                                                         \
  Tensor name(Tensor const& x, int64_t n) { return polynomial(#name, x, n, Family::family); } \
  Tensor name(Tensor const& x, Tensor const& n) { return polynomial(#name, x, n, Family::family); }

HEED_POLYNOMIAL(chebyshev_polynomial_t, chebyshev_t)
HEED_POLYNOMIAL(chebyshev_polynomial_u, chebyshev_u)
HEED_POLYNOMIAL(chebyshev_polynomial_v, chebyshev_v)
HEED_POLYNOMIAL(chebyshev_polynomial_w, chebyshev_w)
HEED_POLYNOMIAL(shifted_chebyshev_polynomial_t, shifted_chebyshev_t)
HEED_POLYNOMIAL(shifted_chebyshev_polynomial_u, shifted_chebyshev_u)
HEED_POLYNOMIAL(shifted_chebyshev_polynomial_v, shifted_chebyshev_v)
HEED_POLYNOMIAL(shifted_chebyshev_polynomial_w, shifted_chebyshev_w)
HEED_POLYNOMIAL(hermite_polynomial_h, hermite_h)
HEED_POLYNOMIAL(hermite_polynomial_he, hermite_he)
HEED_POLYNOMIAL(laguerre_polynomial_l, laguerre_l)
HEED_POLYNOMIAL(legendre_polynomial_p, legendre_p)

}  // namespace heed
