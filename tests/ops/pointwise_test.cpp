// Pointwise operations.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <tuple>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

constexpr double tiny = 0x1p-140;  // denormal in f32
constexpr int64_t big = 30011;

std::vector<Shapes> const unary_shapes = {{{3, 5}}, {{}},   {{1}}, {{7}},       {{8}},    {{9}},
                                          {{17}},   {{33}}, {{0}}, {{2, 0, 3}}, {{4, 65}}};

OpCase& unary(std::string name, std::function<Tensor(Tensor const&)> f, double (*formula)(double), Input in,
              std::vector<Special> special = {}) {
  OpCase c{.name = name,
           .covers = name.substr(0, name.find(' ')),
           .inputs = {std::move(in)},
           .shapes = unary_shapes,
           .op = [f](Tensors const& x) { return Tensors{f(x[0])}; },
           .scalar = [formula](double const* x) { return formula(x[0]); }};
  c.elementwise_bits = true;
  c.large = {{3, big}};
  c.special = std::move(special);
  bool const says_nan =
      std::any_of(c.special.begin(), c.special.end(), [](Special const& s) { return std::isnan(s.in[0]); });
  if (!says_nan) c.special.push_back({{nan_}, nan_});
  c.bad.push_back({[f] { f(Tensor()); }, {"expected a tensor, got an undefined one"}});
  list().push_back(std::move(c));
  return list().back();
}

std::vector<Shapes> const binary_shapes = {{{3, 5}, {3, 5}},   {{3, 1}, {1, 5}}, {{}, {4}},        {{2, 3, 5}, {5}},
                                           {{}, {}},           {{1}, {9}},       {{7}, {7}},       {{17}, {17}},
                                           {{33}, {1}},        {{0, 3}, {1, 3}}, {{2, 0}, {2, 0}}, {{4, 65}, {4, 1}},
                                           {{5, 1, 9}, {6, 1}}};

OpCase& binary(std::string name, std::string covers, std::function<Tensor(Tensor const&, Tensor const&)> f,
               double (*formula)(double, double), Input a, Input b, std::vector<Special> special = {}) {
  OpCase c{.name = name,
           .covers = covers,
           .inputs = {std::move(a), std::move(b)},
           .shapes = binary_shapes,
           .op = [f](Tensors const& x) { return Tensors{f(x[0], x[1])}; },
           .scalar = [formula](double const* x) { return formula(x[0], x[1]); }};
  c.elementwise_bits = true;
  c.large = {{3, big}, {3, big}};
  c.special = std::move(special);
  c.bad = {{[f] { f(Tensor(), ones({2})); }, {"expected a tensor, got an undefined one"}},
           {[f] { f(ones({2}), Tensor()); }, {"expected a tensor, got an undefined one"}},
           {[f] {
              f(ones({2, 3}), ones({4}));
            },
            {"[2, 3]", "[4]", "axis -1", "sizes 3 and 4", "Remedy"}}};
  list().push_back(std::move(c));
  return list().back();
}

double phi(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.)); }

void pointwise_cases() {
  Input const any = real(), positive = real(0.2, 3), off_zero = real(-2, 2, {0});
  unary("neg", heed::neg, [](double x) { return -x; }, any, {{{0}, -0.}, {{inf}, -inf}, {{tiny}, -tiny}});
  unary(
      "operator- unary", [](Tensor const& x) { return -x; }, [](double x) { return -x; }, any);
  unary("abs", heed::abs, [](double x) { return std::abs(x); }, off_zero, {{{-0.}, 0}, {{-inf}, inf}, {{-tiny}, tiny}});
  unary("sign", heed::sign, [](double x) { return double((x > 0) - (x < 0)); }, off_zero,
        {{{nan_}, 0}, {{-0.}, 0}, {{-inf}, -1}, {{tiny}, 1}});
  unary("square", heed::square, [](double x) { return x * x; }, any, {{{-inf}, inf}, {{-0.}, 0}});
  unary("sqrt", heed::sqrt, [](double x) { return std::sqrt(x); }, positive,
        {{{-1}, nan_}, {{-0.}, -0.}, {{inf}, inf}, {{tiny}, 0x1p-70}});
  unary("rsqrt", heed::rsqrt, [](double x) { return 1 / std::sqrt(x); }, positive,
        {{{-1}, nan_}, {{0}, inf}, {{inf}, 0}});
  unary("reciprocal", heed::reciprocal, [](double x) { return 1 / x; }, positive,
        {{{0}, inf}, {{-0.}, -inf}, {{-inf}, -0.}});
  unary("exp", heed::exp, [](double x) { return std::exp(x); }, any,
        {{{inf}, inf}, {{-inf}, 0}, {{0}, 1}, {{1e4}, inf}, {{-1e4}, 0}, {{tiny}, 1}});
  unary("expm1", heed::expm1, [](double x) { return std::expm1(x); }, any,
        {{{inf}, inf}, {{-inf}, -1}, {{-0.}, -0.}, {{tiny}, tiny}});
  unary("log", heed::log, [](double x) { return std::log(x); }, positive,
        {{{0}, -inf}, {{-0.}, -inf}, {{-1}, nan_}, {{inf}, inf}, {{1}, 0}});
  unary("log1p", heed::log1p, [](double x) { return std::log1p(x); }, real(-0.7, 2),
        {{{-1}, -inf}, {{-2}, nan_}, {{inf}, inf}, {{-0.}, -0.}});
  unary("sin", heed::sin, [](double x) { return std::sin(x); }, real(-7, 7),
        {{{inf}, nan_}, {{-inf}, nan_}, {{-0.}, -0.}});
  unary("cos", heed::cos, [](double x) { return std::cos(x); }, real(-7, 7), {{{inf}, nan_}, {{-inf}, nan_}, {{0}, 1}});
  unary("tanh", heed::tanh, [](double x) { return std::tanh(x); }, any,
        {{{inf}, 1}, {{-inf}, -1}, {{-0.}, -0.}, {{100}, 1}});
  unary("erf", heed::erf, [](double x) { return std::erf(x); }, any, {{{inf}, 1}, {{-inf}, -1}, {{-0.}, -0.}});
  Input const off_halves = real(-3, 3, {-3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3});
  unary("floor", heed::floor, [](double x) { return std::floor(x); }, off_halves,
        {{{-0.}, -0.}, {{inf}, inf}, {{-0.5}, -1}, {{2.5}, 2}});
  unary("ceil", heed::ceil, [](double x) { return std::ceil(x); }, off_halves,
        {{{-0.5}, -0.}, {{-inf}, -inf}, {{2.5}, 3}});
  unary(
      "round", [](Tensor const& x) { return heed::round(x); }, [](double x) { return std::nearbyint(x); }, off_halves,
      {{{0.5}, 0}, {{1.5}, 2}, {{2.5}, 2}, {{-0.5}, -0.}, {{inf}, inf}});
  unary("trunc", heed::trunc, [](double x) { return std::trunc(x); }, off_halves,
        {{{-0.5}, -0.}, {{2.5}, 2}, {{-2.5}, -2}, {{-inf}, -inf}});
  unary(
      "clamp", [](Tensor const& x) { return clamp(x, -1, 0.5); },
      [](double x) { return std::min(std::max(x, -1.), 0.5); }, real(-2, 2, {-1, 0.5}), {{{inf}, 0.5}, {{-inf}, -1}});
  unary("sigmoid", heed::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, any,
        {{{inf}, 1}, {{-inf}, 0}, {{0}, 0.5}});
  unary("log_sigmoid", heed::log_sigmoid, [](double x) { return -std::log1p(std::exp(-x)); }, any,
        {{{-inf}, -inf}, {{-1000}, -1000}});
  unary(
      "softplus", [](Tensor const& x) { return heed::softplus(x); }, [](double x) { return std::log1p(std::exp(x)); },
      any, {{{inf}, inf}, {{-inf}, 0}, {{1000}, 1000}});
  unary("relu", heed::relu, [](double x) { return x > 0 ? x : 0; }, off_zero,
        {{{inf}, inf}, {{-inf}, 0}, {{tiny}, tiny}});
  unary(
      "leaky_relu", [](Tensor const& x) { return leaky_relu(x, 0.2); }, [](double x) { return x > 0 ? x : 0.2 * x; },
      off_zero, {{{inf}, inf}, {{-inf}, -inf}});
  unary(
      "elu", [](Tensor const& x) { return elu(x, 1.5); }, [](double x) { return x > 0 ? x : 1.5 * std::expm1(x); },
      off_zero, {{{inf}, inf}, {{-inf}, -1.5}});
  unary("gelu", heed::gelu, [](double x) { return x * phi(x); }, any, {{{inf}, inf}, {{-inf}, nan_}, {{0}, 0}});
  unary("gelu_tanh", heed::gelu_tanh,
        [](double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286541 * (x + 0.044715 * x * x * x))); }, any,
        {{{inf}, inf}, {{-inf}, nan_}, {{0}, 0}});
  unary("silu", heed::silu, [](double x) { return x / (1 + std::exp(-x)); }, any,
        {{{inf}, inf}, {{-inf}, nan_}, {{0}, 0}});
  unary("mish", heed::mish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, any,
        {{{inf}, inf}, {{-inf}, nan_}, {{0}, 0}});

  unary(
      "pow 3", [](Tensor const& x) { return pow(x, 3); }, [](double x) { return x * x * x; }, any, {{{-inf}, -inf}});
  unary(
      "pow 2.5", [](Tensor const& x) { return pow(x, 2.5); }, [](double x) { return std::pow(x, 2.5); }, positive,
      {{{-1}, nan_}, {{0}, 0}});
  unary(
      "pow 0", [](Tensor const& x) { return pow(x, 0); }, [](double) { return 1.; }, any, {{{nan_}, 1}, {{0}, 1}});
  unary(
      "pow -0.5", [](Tensor const& x) { return pow(x, -0.5); }, [](double x) { return 1 / std::sqrt(x); }, positive);
  unary(
      "operator+ number", [](Tensor const& x) { return x + 1.5; }, [](double x) { return x + 1.5; }, any);
  unary(
      "operator+ number first", [](Tensor const& x) { return 1.5 + x; }, [](double x) { return x + 1.5; }, any);
  unary(
      "operator- number", [](Tensor const& x) { return x - 1.5; }, [](double x) { return x - 1.5; }, any);
  unary(
      "operator- number first", [](Tensor const& x) { return 1.5 - x; }, [](double x) { return 1.5 - x; }, any);
  unary(
      "operator* number", [](Tensor const& x) { return x * 1.5; }, [](double x) { return x * 1.5; }, any);
  unary(
      "operator* number first", [](Tensor const& x) { return 1.5 * x; }, [](double x) { return 1.5 * x; }, any);
  unary(
      "operator/ number", [](Tensor const& x) { return x / 3; }, [](double x) { return x / 3; }, any);
  unary(
      "operator/ number first", [](Tensor const& x) { return 3 / x; }, [](double x) { return 3 / x; }, positive,
      {{{0}, inf}, {{inf}, 0}});

  binary("add", "add", heed::add, [](double a, double b) { return a + b; }, any, any,
         {{{inf, -inf}, nan_}, {{-0., -0.}, -0.}, {{tiny, tiny}, 2 * tiny}});
  binary(
      "operator+", "operator+", [](Tensor const& a, Tensor const& b) { return a + b; },
      [](double a, double b) { return a + b; }, any, any);
  binary("sub", "sub", heed::sub, [](double a, double b) { return a - b; }, any, any,
         {{{inf, inf}, nan_}, {{0, -0.}, 0}});
  binary(
      "operator-", "operator-", [](Tensor const& a, Tensor const& b) { return a - b; },
      [](double a, double b) { return a - b; }, any, any);
  binary("mul", "mul", heed::mul, [](double a, double b) { return a * b; }, any, any,
         {{{0, inf}, nan_}, {{-0., 2}, -0.}, {{tiny, 0.5}, tiny / 2}});
  binary(
      "operator*", "operator*", [](Tensor const& a, Tensor const& b) { return a * b; },
      [](double a, double b) { return a * b; }, any, any);
  binary(
      "div", "div", [](Tensor const& a, Tensor const& b) { return heed::div(a, b); },
      [](double a, double b) { return a / b; }, any, positive,
      {{{1, 0}, inf}, {{1, -0.}, -inf}, {{0, 0}, nan_}, {{1, inf}, 0}});
  binary(
      "operator/", "operator/", [](Tensor const& a, Tensor const& b) { return a / b; },
      [](double a, double b) { return a / b; }, any, positive);
  binary(
      "pow", "pow", [](Tensor const& a, Tensor const& b) { return pow(a, b); },
      [](double a, double b) { return std::pow(a, b); }, positive, any,
      {{{0, 0}, 1}, {{nan_, 0}, 1}, {{-1, 0.5}, nan_}, {{0, -1}, inf}, {{2, inf}, inf}});
  // Draws of both operands on one grid, half a step apart, so that no two tie.
  Input left = distinct(-2, 2), right = distinct(-1.9375, 2.0625);
  binary("maximum", "maximum", heed::maximum, [](double a, double b) { return std::max(a, b); }, left, right,
         {{{nan_, 1}, nan_}, {{1, nan_}, nan_}, {{-inf, inf}, inf}});
  binary("minimum", "minimum", heed::minimum, [](double a, double b) { return std::min(a, b); }, left, right,
         {{{nan_, 1}, nan_}, {{1, nan_}, nan_}, {{-inf, inf}, -inf}});

  OpCase select{.name = "where",
                .covers = "where",
                .inputs = {mask(), any, any},
                .shapes = {{{3, 5}, {3, 5}, {3, 5}},
                           {{3, 1}, {5}, {3, 5}},
                           {{}, {4}, {}},
                           {{7}, {7}, {1}},
                           {{0}, {0}, {1}},
                           {{2, 33}, {33}, {2, 1}}},
                .op = [](Tensors const& x) { return Tensors{where(x[0], x[1], x[2])}; },
                .scalar = [](double const* x) { return x[0] != 0 ? x[1] : x[2]; }};
  select.elementwise_bits = true;
  select.large = {{3, big}, {3, big}, {3, big}};
  select.bad = {{[] { where(ones({2}), ones({2}), ones({2})); }, {"where", "expected a bool condition, got f32"}},
                {[] { where(ones({2}) > 0.0, ones({3}), ones({2})); }, {"where", "[3]", "[2]"}},
                {[] { where(Tensor(), ones({3}), ones({2})); }, {"where", "undefined"}}};
  list().push_back(select);
  OpCase fill{.name = "masked_fill",
              .covers = "masked_fill",
              .inputs = {any, mask()},
              .shapes = {{{3, 5}, {3, 5}}, {{3, 5}, {5}}, {{}, {}}, {{2, 9}, {2, 1}}, {{0}, {0}}},
              .op =
                  [](Tensors const& x) {
                    return Tensors{masked_fill(x[0], x[1], -3), where(x[1], x[0], 4), where(x[1], 5, x[0])};
                  },
              .twin =
                  [](Tensors const& x) {
                    Tensor const m = x[1].to(Dtype::f64);
                    return Tensors{x[0] * (1 - m) - 3 * m, x[0] * m + 4 * (1 - m), 5 * m + x[0] * (1 - m)};
                  }};
  list().push_back(fill);
}

/// Operations that are programs (ops/formulas.cpp), against the C library or a formula in f64.
void formula_cases() {
  Input const any = real(), positive = real(0.2, 3), inside = real(-0.9, 0.9);
  unary("tan", heed::tan, [](double x) { return std::tan(x); }, real(-1.2, 1.2), {{{-0.}, -0.}, {{inf}, nan_}});
  unary("asin", heed::asin, [](double x) { return std::asin(x); }, inside, {{{2}, nan_}, {{-0.}, -0.}});
  unary("acos", heed::acos, [](double x) { return std::acos(x); }, inside, {{{2}, nan_}, {{1}, 0}});
  unary("atan", heed::atan, [](double x) { return std::atan(x); }, real(-5, 5),
        {{{inf}, std::numbers::pi / 2}, {{-inf}, -std::numbers::pi / 2}, {{-0.}, -0.}, {{tiny}, tiny}});
  unary("sinh", heed::sinh, [](double x) { return std::sinh(x); }, real(-4, 4),
        {{{inf}, inf}, {{-inf}, -inf}, {{-0.}, -0.}, {{89}, std::sinh(89.)}})
      .f32 = 1e-5;
  unary("cosh", heed::cosh, [](double x) { return std::cosh(x); }, real(-4, 4), {{{-inf}, inf}, {{0}, 1}});
  unary("asinh", heed::asinh, [](double x) { return std::asinh(x); }, real(-4, 4),
        {{{inf}, inf}, {{-inf}, -inf}, {{-0.}, -0.}, {{1e30}, std::asinh(1e30)}, {{tiny}, tiny}});
  unary("acosh", heed::acosh, [](double x) { return std::acosh(x); }, real(1.2, 5),
        {{{1}, 0}, {{0.5}, nan_}, {{-1e10}, nan_}, {{-1e30}, nan_}, {{inf}, inf}, {{1e30}, std::acosh(1e30)}});
  unary("atanh", heed::atanh, [](double x) { return std::atanh(x); }, inside,
        {{{1}, inf}, {{-1}, -inf}, {{2}, nan_}, {{-0.}, -0.}});
  unary("sinc", heed::sinc, [](double x) { return std::sin(std::numbers::pi * x) / (std::numbers::pi * x); },
        real(-3, 3, {0}), {{{0}, 1}, {{inf}, nan_}});
  unary(
      "deg2rad", heed::deg2rad, [](double x) { return x * std::numbers::pi / 180; }, any);
  unary(
      "rad2deg", heed::rad2deg, [](double x) { return x * 180 / std::numbers::pi; }, any);
  unary("exp2", heed::exp2, [](double x) { return std::exp2(x); }, any,
        {{{inf}, inf}, {{-inf}, 0}, {{10}, 1024}, {{-1}, 0.5}, {{2000}, inf}, {{-2000}, 0}});
  unary("log2", heed::log2, [](double x) { return std::log2(x); }, positive,
        {{{0}, -inf}, {{-1}, nan_}, {{8}, 3}, {{0.25}, -2}, {{inf}, inf}});
  unary("log10", heed::log10, [](double x) { return std::log10(x); }, positive,
        {{{0}, -inf}, {{-1}, nan_}, {{1000}, 3}, {{inf}, inf}});
  unary("erfc", heed::erfc, [](double x) { return std::erfc(x); }, any,
        {{{inf}, 0}, {{-inf}, 2}, {{5}, std::erfc(5.)}});
  unary("erfcx", heed::erfcx, [](double x) { return std::exp(x * x) * std::erfc(x); }, any,
        {{{30}, 0.018795888861416751}, {{inf}, 0}});
  unary("erfinv", heed::erfinv,
        [](double x) {
          double y = 0;  // bisection of erf
          for (double step = 4; step > 1e-17; step /= 2) y += std::erf(y) < x ? step : -step;
          return y;
        },
        inside, {{{1}, inf}, {{-1}, -inf}, {{1.5}, nan_}, {{-0.}, -0.}});
  unary("ndtr", heed::ndtr, [](double x) { return phi(x); }, any, {{{inf}, 1}, {{-inf}, 0}, {{-4}, phi(-4)}});
  unary("log_ndtr", heed::log_ndtr, [](double x) { return std::log(phi(x)); }, real(-4, 4),
        {{{inf}, -0.}, {{-20}, -203.91715537109726}});
  unary("ndtri", heed::ndtri,
        [](double p) {
          double y = 0;
          for (double step = 8; step > 1e-17; step /= 2) y += phi(y) < p ? step : -step;
          return y;
        },
        real(0.02, 0.98),
        {{{1}, inf},
         {{0}, -inf},
         {{-1}, nan_},
         {{-1e-39}, nan_},
         {{1e-9}, -5.9978070150076869},
         {{1e-30}, -11.464024688443613}});
  unary("entr", heed::entr, [](double x) { return -x * std::log(x); }, positive, {{{0}, 0}, {{-1}, -inf}});
  unary("lgamma", heed::lgamma, [](double x) { return std::lgamma(x); }, real(0.3, 6),
        {{{0}, inf}, {{-1}, inf}, {{inf}, inf}});
  auto const psi = [](double x) {  // the slope of lgamma, by Richardson's extrapolation
    auto d = [x](double h) { return (std::lgamma(x + h) - std::lgamma(x - h)) / (2 * h); };
    return (64 * d(0.005) - 20 * d(0.01) + d(0.02)) / 45;
  };
  unary("digamma", heed::digamma, psi, real(0.3, 6),
        {{{0}, -inf}, {{-0.}, inf}, {{-1}, nan_}, {{1}, -0.57721566490153286}})
      .f64 = 1e-7;
  list().back().f32 = 1e-5;
  unary(
      "polygamma 1", [](Tensor const& x) { return polygamma(1, x); },
      [](double x) {
        double sum = 0;  // Σ 1/(x + k)², its tail by Euler and Maclaurin
        for (int k = 0; k < 1000; ++k) sum += 1 / ((x + k) * (x + k));
        double const y = x + 1000;
        return sum + 1 / y + 1 / (2 * y * y) + 1 / (6 * y * y * y);
      },
      real(0.3, 6), {{{1}, 1.6449340668482264}, {{inf}, 0}});
  unary(
      "mvlgamma", [](Tensor const& x) { return mvlgamma(x, 2); },
      [](double x) { return 0.5 * std::log(std::numbers::pi) + std::lgamma(x) + std::lgamma(x - 0.5); }, real(1, 4));
  unary("i0", heed::i0, [](double x) { return std::cyl_bessel_i(0., std::abs(x)); }, real(-4, 4), {{{0}, 1}}).f32 =
      1e-5;
  unary("i1", heed::i1, [](double x) { return std::copysign(std::cyl_bessel_i(1., std::abs(x)), x); }, real(-4, 4),
        {{{0}, 0}})
      .f32 = 1e-5;
  unary("i0e", heed::i0e, [](double x) { return std::exp(-std::abs(x)) * std::cyl_bessel_i(0., std::abs(x)); },
        real(-4, 4, {0}), {{{inf}, 0}, {{100}, 0.03994437929909668}});
  unary("i1e", heed::i1e,
        [](double x) { return std::exp(-std::abs(x)) * std::copysign(std::cyl_bessel_i(1., std::abs(x)), x); },
        real(-4, 4, {0}), {{{-inf}, -0.}});
  unary("bessel_j0", heed::bessel_j0, [](double x) { return std::cyl_bessel_j(0., std::abs(x)); }, real(-6, 6),
        {{{0}, 1}, {{inf}, 0}, {{5}, -0.17759677131433830}});
  unary("bessel_j1", heed::bessel_j1, [](double x) { return (x < 0 ? -1 : 1) * std::cyl_bessel_j(1., std::abs(x)); },
        real(-6, 6, {0}), {{{0}, 0}, {{inf}, 0}, {{-inf}, -0.}, {{5}, -0.32757913759146522}});
  unary("bessel_y0", heed::bessel_y0, [](double x) { return std::cyl_neumann(0., x); }, real(0.3, 6),
        {{{0}, -inf}, {{-1}, nan_}, {{inf}, 0}, {{5}, -0.30851762524903376}});
  unary("bessel_y1", heed::bessel_y1, [](double x) { return std::cyl_neumann(1., x); }, real(0.3, 6),
        {{{0}, -inf}, {{-1}, nan_}, {{inf}, 0}, {{5}, 0.14786314339122683}});
  unary("spherical_bessel_j0", heed::spherical_bessel_j0, [](double x) { return std::sin(x) / x; }, real(-6, 6, {0}),
        {{{0}, 1}, {{tiny}, 1}, {{inf}, 0}, {{-inf}, 0}, {{1e10}, -4.8750602508751067e-11}});
  unary("modified_bessel_k0", heed::modified_bessel_k0, [](double x) { return std::cyl_bessel_k(0., x); }, real(0.3, 6),
        {{{0}, inf}, {{-1}, nan_}, {{inf}, 0}, {{5}, 0.0036910983340425942}});
  unary("modified_bessel_k1", heed::modified_bessel_k1, [](double x) { return std::cyl_bessel_k(1., x); }, real(0.3, 6),
        {{{0}, inf}, {{-1}, nan_}, {{inf}, 0}, {{5}, 0.0040446134454521642}});
  unary("scaled_modified_bessel_k0", heed::scaled_modified_bessel_k0,
        [](double x) { return std::exp(x) * std::cyl_bessel_k(0., x); }, real(0.3, 6),
        {{{0}, inf}, {{-1}, nan_}, {{inf}, 0}, {{1e4}, 0.012532984717699285}});
  unary("scaled_modified_bessel_k1", heed::scaled_modified_bessel_k1,
        [](double x) { return std::exp(x) * std::cyl_bessel_k(1., x); }, real(0.3, 6),
        {{{0}, inf}, {{-1}, nan_}, {{inf}, 0}, {{1e4}, 0.012533611351270506}});
  for (size_t i = list().size() - 9; i < list().size(); ++i) list()[i].f32 = 1e-5, list()[i].f64 = 1e-12;
  Input const off_halves = real(-3, 3, {-3, -2, -1, 0, 1, 2, 3});
  unary(
      "frexp", [](Tensor const& x) { return heed::frexp(x).first; },
      [](double x) {
        int e;
        return std::frexp(x, &e);
      },
      real(-3, 3, {-2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2}), {{{0}, 0}, {{-0.}, -0.}, {{inf}, inf}, {{tiny}, 0.5}})
      .bad.push_back({[] { heed::frexp(arange(3)); }, {"frexp", "i64"}});
  unary(
      "rrelu", [](Tensor const& x) { return rrelu(x, 0.1, 0.3); }, [](double x) { return x > 0 ? x : 0.2 * x; },
      real(-2, 2, {0}))
      .bad.push_back({[] { rrelu(ones({2}), 0.5, 0.25); }, {"rrelu", "0.5 and 0.25"}});
  unary("frac", heed::frac, [](double x) { return x - std::trunc(x); }, off_halves, {{{2.5}, 0.5}});
  unary(
      "round decimals", [](Tensor const& x) { return heed::round(x, 1); },
      [](double x) { return std::nearbyint(x * 10) / 10; }, real(-2, 2, {-0.75, -0.25, 0.25, 0.75}))
      .differentiable = false;
  unary(
      "logit", [](Tensor const& x) { return logit(x); }, [](double p) { return std::log(p / (1 - p)); }, real(0.1, 0.9),
      {{{0}, -inf}, {{1}, inf}, {{2}, nan_}});
  unary(
      "logit eps", [](Tensor const& x) { return logit(x, 0.2); },
      [](double p) {
        p = std::min(std::max(p, 0.2), 0.8);
        return std::log(p / (1 - p));
      },
      real(0.05, 0.95, {0.2, 0.8}));
  unary(
      "softplus beta", [](Tensor const& x) { return softplus(x, 2, 3); },
      [](double x) { return 2 * x > 3 ? x : std::log1p(std::exp(2 * x)) / 2; }, real(-2, 3, {1.5}),
      {{{inf}, inf}, {{-inf}, 0}});
  unary("relu6", heed::relu6, [](double x) { return std::min(std::max(x, 0.), 6.); }, real(-3, 9, {0, 6}),
        {{{inf}, 6}});
  unary(
      "threshold", [](Tensor const& x) { return threshold(x, 0.5, -3); }, [](double x) { return x > 0.5 ? x : -3; },
      real(-2, 2, {0.5}));
  unary(
      "celu", [](Tensor const& x) { return celu(x, 1.5); },
      [](double x) { return x > 0 ? x : 1.5 * std::expm1(x / 1.5); }, real(-2, 2, {0}), {{{-inf}, -1.5}});
  unary("selu", heed::selu,
        [](double x) { return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * std::expm1(x)); },
        real(-2, 2, {0}), {{{inf}, inf}});
  unary(
      "hard_tanh", [](Tensor const& x) { return hard_tanh(x, -1, 0.5); },
      [](double x) { return std::min(std::max(x, -1.), 0.5); }, real(-2, 2, {-1, 0.5}), {{{inf}, 0.5}});
  unary("hard_sigmoid", heed::hard_sigmoid, [](double x) { return std::min(std::max(x + 3, 0.), 6.) / 6; },
        real(-5, 5, {-3, 3}), {{{-inf}, 0}, {{inf}, 1}});
  unary("hard_swish", heed::hard_swish, [](double x) { return x * std::min(std::max(x + 3, 0.), 6.) / 6; },
        real(-5, 5, {-3, 3}), {{{-inf}, 0}, {{inf}, inf}});
  unary(
      "hard_shrink", [](Tensor const& x) { return hard_shrink(x, 0.6); },
      [](double x) { return std::abs(x) > 0.6 ? x : 0; }, real(-2, 2, {-0.6, 0.6}));
  unary(
      "soft_shrink", [](Tensor const& x) { return soft_shrink(x, 0.6); },
      [](double x) { return x > 0.6    ? x - 0.6
                            : x < -0.6 ? x + 0.6
                                       : 0; }, real(-2, 2, {-0.6, 0.6}));
  unary(
      "tanhshrink", heed::tanhshrink, [](double x) { return x - std::tanh(x); }, any);
  unary(
      "softsign", heed::softsign, [](double x) { return x / (1 + std::abs(x)); }, real(-2, 2, {0}));
  unary(
      "clamp_min", [](Tensor const& x) { return clamp_min(x, -0.5); }, [](double x) { return std::max(x, -0.5); },
      real(-2, 2, {-0.5}), {{{-inf}, -0.5}});
  unary(
      "clamp_max", [](Tensor const& x) { return clamp_max(x, 0.5); }, [](double x) { return std::min(x, 0.5); },
      real(-2, 2, {0.5}), {{{inf}, 0.5}});
  unary(
      "nan_to_num", [](Tensor const& x) { return nan_to_num(x, 2, 3, -4); }, [](double x) { return x; }, any,
      {{{nan_}, 2}, {{inf}, 3}, {{-inf}, -4}});
  unary(
      "pow number first", [](Tensor const& x) { return pow(2.0, x); }, [](double x) { return std::exp2(x); }, any);

  binary("atan2", "atan2", heed::atan2, [](double a, double b) { return std::atan2(a, b); }, real(-2, 2, {0}), positive,
         {{{0, -1}, std::numbers::pi}, {{-0., -1}, -std::numbers::pi}, {{1, 0}, std::numbers::pi / 2}});
  binary("hypot", "hypot", heed::hypot, [](double a, double b) { return std::hypot(a, b); }, positive, any,
         {{{3e30, 4e30}, 5e30}, {{inf, nan_}, inf}, {{0, 0}, 0}});
  binary("copysign", "copysign", heed::copysign, [](double a, double b) { return std::copysign(a, b); },
         real(-2, 2, {0}), real(-2, 2, {0}), {{{1, -0.}, -1}, {{-1, 0}, 1}});
  binary(
      "ldexp", "ldexp", heed::ldexp, [](double a, double b) { return a * std::exp2(b); }, any, any);
  binary("logaddexp", "logaddexp", heed::logaddexp,
         [](double a, double b) { return std::log(std::exp(a) + std::exp(b)); }, any, any,
         {{{inf, inf}, inf}, {{-inf, -inf}, -inf}, {{-inf, 2}, 2}, {{1e4, 1e4}, 1e4 + std::numbers::ln2}});
  binary("logaddexp2", "logaddexp2", heed::logaddexp2,
         [](double a, double b) { return std::log2(std::exp2(a) + std::exp2(b)); }, any, any, {{{-inf, 2}, 2}});
  binary("xlogy", "xlogy", heed::xlogy, [](double a, double b) { return a * std::log(b); }, any, positive,
         {{{0, 0}, 0}, {{0, -1}, 0}, {{0, inf}, 0}, {{0, nan_}, nan_}, {{1, 0}, -inf}});
  binary("xlog1py", "xlog1py", heed::xlog1py, [](double a, double b) { return a * std::log1p(b); }, any, positive,
         {{{0, -1}, 0}, {{0, nan_}, nan_}});
  binary("fmax", "fmax", heed::fmax, [](double a, double b) { return std::fmax(a, b); }, any, any,
         {{{nan_, 1}, 1}, {{1, nan_}, 1}, {{nan_, nan_}, nan_}});
  binary("fmin", "fmin", heed::fmin, [](double a, double b) { return std::fmin(a, b); }, any, any,
         {{{nan_, 1}, 1}, {{1, nan_}, 1}});
  binary("fmod", "fmod", heed::fmod, [](double a, double b) { return std::fmod(a, b); }, real(4.1, 5.9), real(2.1, 2.9),
         {{{-5, 3}, -2}, {{5, -3}, 2}, {{1, 0}, nan_}});
  binary("remainder", "remainder", heed::remainder, [](double a, double b) { return a - b * std::floor(a / b); },
         real(4.1, 5.9), real(2.1, 2.9), {{{-5, 3}, 1}, {{5, -3}, -1}, {{1, 0}, nan_}});
  for (auto* c : {&list()[list().size() - 2], &list()[list().size() - 1]}) c->gradcheck = {};
  binary("floor_divide", "floor_divide", heed::floor_divide, [](double a, double b) { return std::floor(a / b); },
         real(4.1, 5.9), real(2.1, 2.9),
         {{{-5, 3}, -2},
          {{1, 0}, inf},
          {{-1, inf}, -1},
          {{1, -inf}, -1},
          {{1, inf}, 0},
          {{-0., 1}, -0.},
          {{inf, 2}, nan_}});
  binary(
      "div trunc", "div", [](Tensor const& a, Tensor const& b) { return div(a, b, Rounding::trunc); },
      [](double a, double b) { return std::trunc(a / b); }, real(4.1, 5.9), real(2.1, 2.9), {{{-5, 3}, -1}});
  binary(
      "zeta", "zeta", [](Tensor const& s, Tensor const& x) { return zeta(s, x); },
      [](double s, double x) {
        double sum = 0;
        for (int k = 0; k < 2000; ++k) sum += std::pow(x + k, -s);
        double const y = x + 2000;
        return sum + std::pow(y, 1 - s) / (s - 1) + 0.5 * std::pow(y, -s) + s * std::pow(y, -s - 1) / 12;
      },
      Input{Input::Kind::real, 2, 5, {}, false}, positive);
  // By Simpson's rule, after t = s² where the integrand has a root.
  auto lower_gamma = [](double a, double x) {
    constexpr int n = 20000;
    double const h = std::sqrt(x) / n;
    double sum = 0;
    for (int i = 0; i <= n; ++i) {
      double const s = i * h;
      sum += (i == 0 || i == n ? 1 : i % 2 ? 4 : 2) * 2 * std::pow(s, 2 * a - 1) * std::exp(-s * s);
    }
    return sum * h / 3 / std::tgamma(a);
  };
  static auto const lower = lower_gamma;
  for (bool upper : {false, true}) {
    OpCase& c = binary(
        upper ? "igammac" : "igamma", upper ? "igammac" : "igamma", upper ? heed::igammac : heed::igamma,
        upper ? +[](double a, double x) { return 1 - lower(a, x); } : +[](double a, double x) { return lower(a, x); },
        Input{Input::Kind::real, 2, 5, {}, false}, positive,
        {{{-1, 1}, nan_},
         {{1, -1}, nan_},
         {{0, 0}, nan_},
         {{0, 1}, upper ? 0. : 1.},
         {{1, 0}, upper ? 1. : 0.},
         {{1, inf}, upper ? 0. : 1.},
         {{inf, 1}, upper ? 1. : 0.},
         {{inf, inf}, nan_},
         {{nan_, 0}, nan_},
         {{nan_, inf}, nan_},
         {{inf, nan_}, nan_},
         {{0x1p-100, 1}, upper ? 0x1p-100 * 0.21938393439552027 : 1.}});  // E₁(1)
    c.f64 = 1e-10;
    c.bad.push_back({[upper] { (upper ? igammac : igamma)(ones({2}).requires_grad_(), ones({2})); }, {"no gradient"}});
  }
  binary("heaviside", "heaviside", heed::heaviside, [](double a, double b) { return a == 0  ? b
                                                                                    : a > 0 ? 1.
                                                                                            : 0.; },
         real(-2, 2, {0}), any, {{{0, 0.25}, 0.25}});
  binary(
      "lerp number", "lerp", [](Tensor const& a, Tensor const& b) { return lerp(a, b, 0.3); },
      [](double a, double b) { return a + 0.3 * (b - a); }, any, any);
  binary(
      "clamp low", "clamp", [](Tensor const& x, Tensor const& low) { return clamp(x, low, Tensor()); },
      [](double x, double low) { return std::max(x, low); }, any, any, {{{nan_, 1}, nan_}, {{1, nan_}, nan_}})
      .bad = {{[] { clamp(ones({2}), Tensor(), Tensor()); }, {"clamp", "got neither"}}};
  binary(
      "prelu", "prelu", [](Tensor const& x, Tensor const& w) { return prelu(x, w.flatten().slice(0, 0, 1)); },
      [](double x, double w) { return x > 0 ? x : w * x; }, real(-2, 2, {0}), any)
      .shapes = {{{3, 5}, {1}}, {{}, {}}, {{4, 33}, {1}}, {{0}, {1}}};
  list().back().bad = {{[] {
                          prelu(ones({2, 3}), ones({2}));
                        },
                        {"prelu", "[2, 3]", "[2]"}},
                       {[] { prelu(Tensor(), ones({2})); }, {"prelu", "undefined"}}};

  auto ternary = [](std::string name, std::function<Tensor(Tensors const&)> f,
                    std::function<double(double const*)> formula, std::vector<Input> in) {
    OpCase c{.name = name,
             .covers = name,
             .inputs = std::move(in),
             .shapes = {{{3, 5}, {3, 5}, {3, 5}},
                        {{}, {}, {}},
                        {{3, 1}, {1, 5}, {}},
                        {{17}, {17}, {1}},
                        {{2, 0}, {2, 0}, {1}}},
             .op = [f](Tensors const& x) { return Tensors{f(x)}; },
             .scalar = std::move(formula)};
    c.elementwise_bits = true;
    c.large = {{3, big}, {3, big}, {big}};
    c.bad = {{[f] {
                f({ones({2}), ones({3}), ones({2})});
              },
              {"[2]", "[3]"}},
             {[f] {
                f({ones({2}), Tensor(), ones({2})});
              },
              {"undefined"}}};
    list().push_back(std::move(c));
  };
  ternary(
      "lerp", [](Tensors const& x) { return lerp(x[0], x[1], x[2]); },
      [](double const* x) { return x[0] + x[2] * (x[1] - x[0]); }, {any, any, any});
  ternary(
      "addcmul", [](Tensors const& x) { return addcmul(x[0], x[1], x[2], 0.5); },
      [](double const* x) { return x[0] + 0.5 * x[1] * x[2]; }, {any, any, any});
  ternary(
      "addcdiv", [](Tensors const& x) { return addcdiv(x[0], x[1], x[2], 0.5); },
      [](double const* x) { return x[0] + 0.5 * x[1] / x[2]; }, {any, any, positive});
  ternary(
      "clamp tensors", [](Tensors const& x) { return clamp(x[0], x[1], x[2]); },
      [](double const* x) { return std::min(std::max(x[0], x[1]), x[2]); }, {any, any, any});
  list().back().covers = "clamp";
  list().back().bad.pop_back();

  using Gate = double (*)(double);
  std::tuple<char const*, Tensor (*)(Tensor const&, int), Gate> const gates[] = {
      {"glu", heed::glu, [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"reglu", heed::reglu, [](double x) { return std::max(x, 0.); }},
      {"geglu", heed::geglu, [](double x) { return x * phi(x); }},
      {"swiglu", heed::swiglu, [](double x) { return x / (1 + std::exp(-x)); }}};
  for (auto const& [name, op, gate] : gates) {
    OpCase c{.name = name,
             .covers = name,
             .inputs = {real(-2, 2, {0})},
             .shapes = {{{3, 4}}, {{2}}, {{5, 18}}, {{0, 6}}},
             .op = [op = op](Tensors const& x) { return Tensors{op(x[0], -1)}; },
             .twin =
                 [gate = gate](Tensors const& x) {
                   int64_t const half = x[0].size(-1) / 2;
                   auto const v = x[0].detach().to_vector<double>();
                   std::vector<double> out;
                   for (size_t i = 0; i < v.size(); ++i)
                     if (int64_t(i) % (2 * half) < half) out.push_back(v[i] * gate(v[i + size_t(half)]));
                   Shape shape = x[0].shape();
                   shape[shape.rank() - 1] = half;
                   return Tensors{tensor(out, shape)};
                 }};
    c.bad = {{[op = op] {
                op(ones({2, 3}), -1);
              },
              {"even size", "[2, 3]"}},
             {[op = op] { op(ones({2}), 1); }, {"got 1"}}};
    list().push_back(c);
  }
}

void polynomial_cases() {
  auto const add = [](char const* name, Tensor (*f)(Tensor const&, int64_t),
                      Tensor (*each)(Tensor const&, Tensor const&), double (*fourth)(double), Input in) {
    OpCase& c = unary(
        name, [f](Tensor const& x) { return f(x, 4); }, fourth, in);
    c.f32 = 3e-5, c.f64 = 1e-12;
    c.gradient_f32 = 3e-4;
    c.bad.push_back({[f] { f(ones({2}), -1); }, {name, "got -1"}});
    c.bad.push_back({[f] { f(ones({2}), 1 << 25); }, {name, "got 33554432"}});
    unary(
        std::string(name) + " degree 0", [f](Tensor const& x) { return f(x, 0); }, [](double) { return 1.; }, in,
        {{{nan_}, 1}, {{inf}, 1}});
    // Degrees that differ: among polynomials of one degree each.
    OpCase& mixed = binary(std::string(name) + " degrees", name, each, {}, in, index(6),
                           {{{nan_, 0}, 1}, {{nan_, 1}, nan_}, {{nan_, -1}, 0}, {{inf, 2}, inf}, {{0.5, 0.9}, 1}});
    mixed.twin = [f](Tensors const& x) {
      Tensor y = zeros_like(x[0] + x[1]);
      for (int k = 0; k < 6; ++k) y = y + (x[1] == double(k)).to(Dtype::f64) * f(x[0], k);
      return Tensors{y};
    };
    mixed.scalar = {};
    mixed.f64 = 1e-12;
    mixed.gradient_f32 = 3e-4;
    mixed.bad.push_back({[each] { each(ones({2}), full({2}, 1 << 25, Dtype::i64)); }, {name, "got 33554432"}});
    mixed.bad.push_back({[each] { each(ones({2}), ones({2}).requires_grad_()); }, {name, "no gradient"}});
  };
  Input const inside = real(-0.9, 0.9), half = real(0.05, 0.95);
  add(
      "chebyshev_polynomial_t", chebyshev_polynomial_t, chebyshev_polynomial_t,
      [](double x) { return std::cos(4 * std::acos(x)); }, inside);
  add(
      "chebyshev_polynomial_u", chebyshev_polynomial_u, chebyshev_polynomial_u,
      [](double x) { return std::sin(5 * std::acos(x)) / std::sin(std::acos(x)); }, inside);
  add(
      "chebyshev_polynomial_v", chebyshev_polynomial_v, chebyshev_polynomial_v,
      [](double x) { return std::cos(4.5 * std::acos(x)) / std::cos(0.5 * std::acos(x)); }, inside);
  add(
      "chebyshev_polynomial_w", chebyshev_polynomial_w, chebyshev_polynomial_w,
      [](double x) { return std::sin(4.5 * std::acos(x)) / std::sin(0.5 * std::acos(x)); }, inside);
  add(
      "shifted_chebyshev_polynomial_t", shifted_chebyshev_polynomial_t, shifted_chebyshev_polynomial_t,
      [](double x) { return std::cos(4 * std::acos(2 * x - 1)); }, half);
  add(
      "shifted_chebyshev_polynomial_u", shifted_chebyshev_polynomial_u, shifted_chebyshev_polynomial_u,
      [](double x) { return std::sin(5 * std::acos(2 * x - 1)) / std::sin(std::acos(2 * x - 1)); }, half);
  add(
      "shifted_chebyshev_polynomial_v", shifted_chebyshev_polynomial_v, shifted_chebyshev_polynomial_v,
      [](double x) { return std::cos(4.5 * std::acos(2 * x - 1)) / std::cos(0.5 * std::acos(2 * x - 1)); }, half);
  add(
      "shifted_chebyshev_polynomial_w", shifted_chebyshev_polynomial_w, shifted_chebyshev_polynomial_w,
      [](double x) { return std::sin(4.5 * std::acos(2 * x - 1)) / std::sin(0.5 * std::acos(2 * x - 1)); }, half);
  add(
      "hermite_polynomial_h", hermite_polynomial_h, hermite_polynomial_h,
      [](double x) { return 16 * x * x * x * x - 48 * x * x + 12; }, inside);
  add(
      "hermite_polynomial_he", hermite_polynomial_he, hermite_polynomial_he,
      [](double x) { return x * x * x * x - 6 * x * x + 3; }, inside);
  add(
      "laguerre_polynomial_l", laguerre_polynomial_l, laguerre_polynomial_l,
      [](double x) { return (x * x * x * x - 16 * x * x * x + 72 * x * x - 96 * x + 24) / 24; }, real());
  add(
      "legendre_polynomial_p", legendre_polynomial_p, legendre_polynomial_p,
      [](double x) { return (35 * x * x * x * x - 30 * x * x + 3) / 8; }, inside);
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    pointwise_cases();
    formula_cases();
    polynomial_cases();
    return OpSuite{
        .sections = {"pointwise, two operands", "pointwise, one operand", "orthogonal polynomials"},
        .cases = list(),
        .not_differentiable = {
            "operator==",  "operator!=", "operator<",   "operator<=",  "operator>",          "operator>=",
            "operator&",   "operator|",  "operator^",   "operator~",   "operator!",          "isclose",
            "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift",
            "gcd",         "lcm",        "logical_and", "logical_or",  "logical_xor",        "logical_not",
            "isnan",       "isinf",      "isposinf",    "isneginf",    "isfinite",           "signbit",
            "nextafter"}};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("frexp gives exponents, and 0 of what has none") {
  auto const [mantissa, exponent] = heed::frexp(tensor({8, -0.75f, 0, float(inf), float(nan_)}));
  CHECK(exponent.dtype() == Dtype::i32);
  CHECK(exponent.to_vector<int>() == std::vector<int>{4, 0, 0, 0, 0});
  CHECK(heed::frexp(ones({2}, Dtype::bf16)).first.dtype() == Dtype::bf16);
}

TEST_CASE("the incomplete gamma functions keep their digits far out") {
  struct Point {
    double a, x, lower, upper;
  };
  for (auto const& [a, x, lower, upper] : {Point{0.25, 0.125, 0.640157206083084111, 0.359842793916915889},
                                           Point{100, 120, 0.97213626010947933852, 0.027863739890520661484},
                                           Point{1e5, 1e5, 0.50042052211036517669, 0.49957947788963482331}}) {
    Tensor const order = scalar(a, Dtype::f64), at = scalar(x, Dtype::f64);
    CHECK(std::abs(igamma(order, at).item() / lower - 1) < 1e-13);
    CHECK(std::abs(igammac(order, at).item() / upper - 1) < 1e-13);
  }
}

TEST_CASE("a polynomial of a degree beyond the programs") {
  Tensor const x = tensor({0.25f, -0.5f}).to(Dtype::f64).requires_grad_();
  Tensor const y = chebyshev_polynomial_t(x, 1500);
  CHECK(std::abs(y.at(0).item() - std::cos(1500 * std::acos(0.25))) < 1e-10);
  Tensor const gx = grad({sum(y)}, {x})[0];  // n·U_{n−1}
  CHECK(std::abs(gx.at(0).item() / (1500 * std::sin(1500 * std::acos(0.25)) / std::sin(std::acos(0.25))) - 1) < 1e-7);
}

TEST_CASE("rrelu draws a slope for each element in training, and scales the gradient by it") {
  Generator generator(3);
  Tensor x = full({1000}, -1.0, Dtype::f64).requires_grad_();
  Tensor const y = rrelu(x, 0.25, 0.5, true, generator);
  CHECK(heed::min(y).item() >= -0.5);
  CHECK(heed::max(y).item() <= -0.25);
  CHECK(std::abs(mean(y).item() + 0.375) < 0.01);
  CHECK(same_bits(grad({sum(y)}, {x})[0], -y.detach()));
}

TEST_CASE("kinks: the gradient where an op has none") {
  struct Kink {
    std::function<Tensor(Tensor const&)> op;
    double at, slope;
  };
  Kink const kinks[] = {{heed::abs, 0, 0},
                        {heed::relu, 0, 0},
                        {[](Tensor const& x) { return leaky_relu(x, 0.25); }, 0, 0.25},
                        {[](Tensor const& x) { return elu(x, 1); }, 0, 1},
                        {[](Tensor const& x) { return clamp(x, -1, 1); }, 1, 1},
                        {[](Tensor const& x) { return clamp(x, -1, 1); }, -1, 1},
                        {[](Tensor const& x) { return clamp(x, -1, 1); }, 2, 0},
                        {heed::sqrt, 0, inf},
                        {heed::sign, 0, 0},
                        {[](Tensor const& x) { return heed::round(x); }, 0.5, 0},
                        {heed::floor, 1, 0},
                        {[](Tensor const& x) { return maximum(x, ones_like(x)); }, 1, 0.5},
                        {[](Tensor const& x) { return minimum(x, ones_like(x)); }, 1, 0.5},
                        {[](Tensor const& x) { return pow(x, 0); }, 0, 0},
                        {[](Tensor const& x) { return pow(x, 2); }, 0, 0},
                        {[](Tensor const& x) {
                           return amax(stack({x, x, x * 0.5}), {0});
                         },
                         1, 1}};
  on_every_isa([&](Isa level) {
    for (Dtype dtype : {Dtype::f32, Dtype::f64})
      for (Kink const& kink : kinks) {
        INFO("kink ", size_t(&kink - kinks), " ", std::string(name(level)));
        Tensor const x = full({19}, kink.at, dtype).requires_grad_();
        for (double slope : grad({sum(kink.op(x))}, {x})[0].to_vector<double>()) CHECK(slope == kink.slope);
      }
  });
}

TEST_CASE("where: the branch not taken gives gradient 0, even where it is NaN") {
  Tensor const x = tensor(std::vector<double>{nan_, 2, inf}, {3}).requires_grad_();
  Tensor const taken = tensor(std::vector<uint8_t>{0, 1, 0}, {3}).to(Dtype::boolean);
  CHECK(grad({sum(where(taken, x, 0.0))}, {x})[0].to_vector<double>() == std::vector<double>{0, 1, 0});
  CHECK(grad({sum(where(!taken, 0.0, x))}, {x})[0].to_vector<double>() == std::vector<double>{0, 1, 0});
  CHECK(sum(where(taken, x, 0.0)).item() == 2);
}
