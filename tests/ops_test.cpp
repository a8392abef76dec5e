// The catalogue, one record an operation: what each gives, its gradients, and everything support/op_case.h derives.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

using Tensors = std::vector<Tensor>;
constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan_ = std::numeric_limits<double>::quiet_NaN();
constexpr double tiny = 0x1p-140;  // denormal in f32
constexpr int64_t big = 30011;

/// Where the makers below put their records.
std::vector<OpCase>& list() {
  static std::vector<OpCase> records;
  return records;
}

// ---- pointwise ------------------------------------------------------------------------------------------------------

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
  unary("round", heed::round, [](double x) { return std::nearbyint(x); }, off_halves,
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
  unary("softplus", heed::softplus, [](double x) { return std::log1p(std::exp(x)); }, any,
        {{{inf}, inf}, {{-inf}, 0}, {{1000}, 1000}});
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
  binary("div", "div", heed::div, [](double a, double b) { return a / b; }, any, positive,
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

// ---- reductions -----------------------------------------------------------------------------------------------------

/// fold(values) for every group of elements that differ along `axes` only.
Tensor fold(Tensor const& x, std::vector<int> axes, bool keep, std::function<double(std::vector<double> const&)> f) {
  Shape kept = x.shape(), out;
  for (int& a : axes) a = a < 0 ? a + x.rank() : a;
  auto reduced = [&](int a) { return std::find(axes.begin(), axes.end(), a) != axes.end(); };
  for (int a = 0; a < x.rank(); ++a) {
    if (reduced(a))
      kept[a] = 1;
    else
      out.push_back(x.shape()[a]);
  }
  std::vector<std::vector<double>> groups(size_t(numel(kept)));
  auto const values = x.detach().to_vector<double>();
  Strides const steps = contiguous_strides(x.shape()), to = contiguous_strides(kept);
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t rest = int64_t(i), group = 0;
    for (int a = 0; a < x.rank(); ++a) {
      int64_t const at = rest / steps[a];
      rest %= steps[a];
      if (!reduced(a)) group += at * to[a];
    }
    groups[size_t(group)].push_back(values[i]);
  }
  std::vector<double> results;
  for (auto const& group : groups) results.push_back(f(group));
  return tensor(results, keep ? kept : out);
}

double total(std::vector<double> const& v) {
  double s = 0;
  for (double x : v) s += x;
  return s;
}

OpCase& reduction(std::string name, std::function<Tensor(Tensor const&)> f, std::vector<int> axes, bool keep,
                  std::function<double(std::vector<double> const&)> formula, Input in, std::vector<Shapes> shapes) {
  OpCase c{.name = name,
           .covers = name.substr(0, name.find(' ')),
           .inputs = {std::move(in)},
           .shapes = std::move(shapes),
           .op = [f](Tensors const& x) { return Tensors{f(x[0])}; },
           .twin = [=](Tensors const& x) { return Tensors{fold(x[0], axes, keep, formula)}; }};
  list().push_back(std::move(c));
  return list().back();
}

void reduction_cases() {
  using V = std::vector<double> const&;
  std::vector<Shapes> const two = {{{3, 5}}, {{1, 1}}, {{2, 7}}, {{4, 8}}, {{5, 9}}, {{3, 33}}, {{0, 4}}, {{65, 17}}};
  std::vector<Shapes> const three = {{{2, 3, 4}}, {{1, 5, 1}}, {{3, 1, 9}}, {{2, 17, 3}}, {{0, 3, 2}}};
  auto largest = [](V v) {
    double m = -inf;
    for (double x : v) m = x > m || std::isnan(x) ? x : m;
    return m;
  };
  auto smallest = [](V v) {
    double m = inf;
    for (double x : v) m = x < m || std::isnan(x) ? x : m;
    return m;
  };
  auto lse = [](V v) {
    double m = -inf, s = 0;
    for (double x : v) m = std::max(m, x);
    for (double x : v) s += std::exp(x - m);
    return m + std::log(s);
  };
  auto times = [](V v) {
    double p = 1;
    for (double x : v) p *= x;
    return p;
  };
  auto average = [](V v) { return total(v) / double(v.size()); };

  auto& all = reduction(
      "sum", [](Tensor const& x) { return sum(x); }, {0, 1}, false, total, real(), two);
  all.large = {{300, 1001}};
  all.special = {};
  all.bad = {{[] { sum(Tensor()); }, {"sum", "undefined"}},
             {[] {
                sum(ones({2, 3}), {2});
              },
              {"sum", "expected an axis from -2 to 1", "got 2"}},
             {[] {
                sum(ones({2, 3}), {0, -2});
              },
              {"sum", "axis 0 is named twice"}}};
  reduction("sum rank 0", [](Tensor const& x) { return sum(x); }, {}, false, total, real(), {{{}}});
  reduction(
      "sum last", [](Tensor const& x) { return sum(x, {-1}); }, {-1}, false, total, real(), two)
      .large = {{300, 1001}};
  reduction(
      "sum first", [](Tensor const& x) { return sum(x, {0}); }, {0}, false, total, real(), two)
      .large = {{1001, 300}};
  reduction(
      "sum keep", [](Tensor const& x) { return sum(x, {0}, true); }, {0}, true, total, real(), two);
  reduction(
      "sum middle", [](Tensor const& x) { return sum(x, {1}); }, {1}, false, total, real(), three);
  reduction(
      "sum outer two",
      [](Tensor const& x) {
        return sum(x, {0, 2});
      },
      {0, 2}, false, total, real(), three);
  reduction("sum of nothing", [](Tensor const& x) { return sum(x, {1}); }, {1}, false, total, real(), {{{3, 0}}});
  reduction("mean", [](Tensor const& x) { return mean(x); }, {0, 1}, false, average, real(),
            {{{3, 5}}, {{2, 9}}, {{33, 17}}})
      .large = {{300, 1001}};
  list().back().bad = {{[] { mean(arange(3)); }, {"mean", "expected f32 or f64, got i64"}},
                       {[] { mean(Tensor()); }, {"mean"}}};
  reduction("mean axes",
            [](Tensor const& x) {
              return mean(x, {0, -1}, true);
            },
            {0, 2}, true, average, real(), {{{2, 3, 4}}, {{3, 1, 9}}});
  for (double correction : {0., 1.})
    reduction(
        correction == 0 ? "var biased" : "var", [=](Tensor const& x) { return var(x, {-1}, correction); }, {-1}, false,
        [=](V v) {
          double m = total(v) / double(v.size()), s = 0;
          for (double x : v) s += (x - m) * (x - m);
          return s / (double(v.size()) - correction);
        },
        real(), {{{3, 5}}, {{2, 7}}, {{5, 9}}, {{3, 33}}});
  std::vector<Shapes> const not_empty = {{{3, 5}}, {{1, 1}},  {{2, 7}},   {{4, 8}},
                                         {{5, 9}}, {{3, 33}}, {{65, 17}}, {{0, 4}}};
  auto& top = reduction(
      "amax", [](Tensor const& x) { return amax(x, {-1}); }, {-1}, false, largest, distinct(), not_empty);
  top.large = {{300, 1001}};
  top.bad = {{[] {
                amax(zeros({3, 0}), {1});
              },
              {"amax", "[3, 0]", "hold no element"}},
             {[] { amax(arange(3), {0}); }, {"amax", "i64"}},
             {[] { amax(Tensor(), {0}); }, {"amax"}},
             {[] { amax(ones({2}), {1}); }, {"amax", "got 1"}}};
  reduction("amax axes",
            [](Tensor const& x) {
              return amax(x, {0, 2}, true);
            },
            {0, 2}, true, largest, distinct(), {{{2, 3, 4}}, {{3, 1, 9}}});
  reduction("amin", [](Tensor const& x) { return amin(x, {0}); }, {0}, false, smallest, distinct(),
            {{{3, 5}}, {{1, 1}}, {{7, 2}}, {{8, 4}}, {{33, 3}}, {{17, 65}}, {{4, 0}}});
  list().back().bad = {{[] { amin(zeros({0}), {0}); }, {"amin", "[0]"}}};
  for (bool biggest : {true, false}) {
    auto where_is = [=](V v) {
      size_t best = 0;
      for (size_t i = 1; i < v.size(); ++i)
        if (biggest ? v[i] > v[best] : v[i] < v[best]) best = i;
      return double(best);
    };
    auto f = biggest ? argmax : argmin;
    OpCase c{.name = biggest ? "argmax" : "argmin",
             .covers = biggest ? "argmax" : "argmin",
             .inputs = {distinct()},
             .shapes = {{{3, 5}}, {{1, 1}}, {{2, 7}}, {{4, 8}}, {{5, 9}}, {{3, 33}}, {{65, 17}}},
             .op =
                 [=](Tensors const& x) {
                   return Tensors{f(x[0], -1, false), f(x[0], 0, true)};
                 },
             .twin =
                 [=](Tensors const& x) {
                   return Tensors{fold(x[0], {-1}, false, where_is).to(Dtype::i64),
                                  fold(x[0], {0}, true, where_is).to(Dtype::i64)};
                 }};
    c.differentiable = false;
    c.large = {{300, 1001}};
    c.bad = {{[=] {
                f(zeros({3, 0}), 1, false);
              },
              {c.name, "[3, 0]"}},
             {[=] { f(ones({2}), 3, false); }, {c.name, "got 3"}}};
    list().push_back(c);
  }
  reduction("prod", [](Tensor const& x) { return prod(x, 0); }, {0}, false, times, real(0.5, 1.5),
            {{{3, 5}}, {{1, 1}}, {{7, 2}}, {{8, 4}}, {{4, 0}}, {{9, 17}}});
  reduction("prod last", [](Tensor const& x) { return prod(x, -1, true); }, {-1}, true, times, real(-1, 1),
            {{{3, 5}}, {{2, 0}}, {{3, 1}}});
  auto& lses = reduction(
      "logsumexp", [](Tensor const& x) { return logsumexp(x, -1); }, {-1}, false, lse, real(-3, 3), two);
  lses.large = {{300, 1001}};
  lses.bad = {{[] { logsumexp(ones({2}), 1); }, {"logsumexp", "got 1"}},
              {[] { logsumexp(arange(3), 0); }, {"logsumexp", "i64"}}};
  reduction("logsumexp first", [](Tensor const& x) { return logsumexp(x, 0, true); }, {0}, true, lse, real(-3, 3),
            {{{3, 5}}, {{2, 7}}, {{33, 9}}});
  OpCase to{.name = "sum_to",
            .covers = "sum_to",
            .inputs = {real()},
            .shapes = {{{2, 3, 5}}, {{4, 3, 1}}, {{0, 3, 2}}},
            .op =
                [](Tensors const& x) {
                  return Tensors{sum_to(x[0], {3, 1}), sum_to(x[0], {1, 1, 1}), sum_to(x[0], {})};
                },
            .twin =
                [](Tensors const& x) {
                  return Tensors{fold(x[0], {0, 2}, false, total).reshape({3, 1}), fold(x[0], {0, 1, 2}, true, total),
                                 fold(x[0], {0, 1, 2}, false, total)};
                }};
  to.bad = {{[] { sum_to(ones({2, 3}), {2}); }, {"sum_to", "[2]", "[2, 3]"}}};
  list().push_back(to);
}

// ---- shape ----------------------------------------------------------------------------------------------------------

/// Checks a rearrangement against one of its elements' numbers: the same op on indices gives the expected order.
OpCase& rearrangement(std::string name, std::function<Tensor(Tensor const&)> f, std::vector<Shapes> shapes,
                      std::function<Tensor(Tensor const&)> twin) {
  OpCase c{.name = name,
           .covers = name.substr(0, name.find(' ')),
           .inputs = {real()},
           .shapes = std::move(shapes),
           .op = [f](Tensors const& x) { return Tensors{f(x[0])}; },
           .twin = [twin](Tensors const& x) { return Tensors{twin(x[0])}; }};
  c.elementwise_bits = true;
  list().push_back(std::move(c));
  return list().back();
}

/// Elements of x at `from(index)` for every index of `shape`.
Tensor picked(Tensor const& x, Shape const& shape,
              std::function<std::vector<int64_t>(std::vector<int64_t> const&)> from) {
  auto const values = x.detach().to_vector<double>();
  Strides const steps = contiguous_strides(x.shape()), to = contiguous_strides(shape);
  std::vector<double> out(size_t(numel(shape)));
  for (size_t i = 0; i < out.size(); ++i) {
    std::vector<int64_t> at;
    int64_t rest = int64_t(i);
    for (int a = 0; a < shape.rank(); ++a) {
      at.push_back(rest / to[a]);
      rest %= to[a];
    }
    auto const source = from(at);
    int64_t offset = 0;
    bool zero = false;
    for (int a = 0; a < x.rank(); ++a) {
      zero |= source[size_t(a)] < 0;
      offset += source[size_t(a)] * steps[a];
    }
    out[i] = zero ? 0 : values[size_t(offset)];
  }
  return tensor(out, shape);
}

void shape_cases() {
  using I = std::vector<int64_t> const&;
  using At = std::vector<int64_t>;
  std::vector<Shapes> const three = {{{2, 3, 4}}, {{1, 3, 1}}, {{3, 3, 9}}, {{0, 3, 2}}};
  auto same = [](Tensor const& x) { return picked(x, x.shape(), [](I i) { return i; }); };
  auto flat = [](Tensor const& x) { return tensor(x.detach().to_vector<double>(), {x.size(0) * 3, x.size(2)}); };
  rearrangement(
      "reshape",
      [](Tensor const& x) {
        return x.reshape({x.size(0) * 3, x.size(2)});
      },
      three, flat)
      .bad = {{[] {
                 ones({2, 3}).reshape({4});
               },
               {"reshape", "[2, 3] (6 elements)", "[4]", "Remedy"}}};
  rearrangement(
      "reshape copies",
      [](Tensor const& x) {
        return x.transpose(0, 1).reshape({3 * x.size(0), x.size(2)});
      },
      three,
      [](Tensor const& x) {
        return picked(x, {3 * x.size(0), x.size(2)}, [n = x.size(0)](I i) { return At{i[0] % n, i[0] / n, i[1]}; });
      });
  // view() refuses what needs a copy, so its strided operand is made contiguous first.
  rearrangement(
      "view",
      [](Tensor const& x) {
        return x.contiguous().view({x.size(0) * 3, x.size(2)});
      },
      three, flat)
      .bad = {{[] {
                 ones({2, 3}).t().view({6});
               },
               {"view", "[3, 2]", "[6]", "Remedy"}}};
  rearrangement(
      "flatten", [](Tensor const& x) { return x.flatten(0, 1); }, three, flat);
  rearrangement(
      "permute",
      [](Tensor const& x) {
        return x.permute({2, 0, 1});
      },
      three,
      [](Tensor const& x) {
        return picked(x, {x.size(2), x.size(0), x.size(1)}, [](I i) { return At{i[1], i[2], i[0]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).permute({0, 0});
               },
               {"permute", "[0, 0]", "exactly once"}},
              {[] {
                 ones({2, 3}).permute({0});
               },
               {"permute", "[0]"}}};
  rearrangement(
      "transpose", [](Tensor const& x) { return x.transpose(0, -1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(2), x.size(1), x.size(0)}, [](I i) { return At{i[2], i[1], i[0]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).transpose(0, 2);
               },
               {"transpose", "got 2"}}};
  rearrangement(
      "t", [](Tensor const& x) { return x.t(); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), x.size(2), x.size(1)}, [](I i) { return At{i[0], i[2], i[1]}; });
      });
  rearrangement(
      "unsqueeze", [](Tensor const& x) { return x.unsqueeze(-1).squeeze(-1).unsqueeze(0).squeeze(0); }, three, same);
  rearrangement(
      "squeeze", [](Tensor const& x) { return x.slice(1, 1, 2).squeeze(1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), x.size(2)}, [](I i) { return At{i[0], 1, i[1]}; });
      });
  rearrangement(
      "expand",
      [](Tensor const& x) {
        return x.unsqueeze(1).expand({2, x.size(0), 3, 3, x.size(2)});
      },
      three,
      [](Tensor const& x) {
        return picked(x, {2, x.size(0), 3, 3, x.size(2)}, [](I i) { return At{i[1], i[3], i[4]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).expand({2, 4});
               },
               {"expand", "[2, 3]", "[2, 4]"}},
              {[] {
                 ones({2, 3}).expand({3});
               },
               {"expand", "[2, 3]", "[3]"}}};
  rearrangement(
      "slice", [](Tensor const& x) { return x.slice(1, -2, 3); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), 2, x.size(2)}, [](I i) { return At{i[0], i[1] + 1, i[2]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).slice(0, 0, 1, 0);
               },
               {"slice", "step", "got 0"}},
              {[] { ones({2}).slice(1, 0, 1); }, {"slice", "got 1"}}};
  rearrangement(
      "slice step", [](Tensor const& x) { return x.slice(1, 0, 3, 2); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), 2, x.size(2)}, [](I i) { return At{i[0], 2 * i[1], i[2]}; });
      });
  rearrangement(
      "select", [](Tensor const& x) { return x.select(1, -1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), x.size(2)}, [](I i) { return At{i[0], 2, i[1]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).select(1, 3);
               },
               {"select", "index 3", "axis 1", "[2, 3]"}}};
  rearrangement(
      "at", [](Tensor const& x) { return x.transpose(0, 1).at(1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), x.size(2)}, [](I i) { return At{i[0], 1, i[1]}; });
      });
  rearrangement(
      "contiguous", [](Tensor const& x) { return x.t().contiguous().t(); }, three, same);
  rearrangement(
      "clone", [](Tensor const& x) { return x.clone(); }, three, same);
  rearrangement(
      "split",
      [](Tensor const& x) {
        auto p = split(x, 2, 1);
        return cat({p[1], p[0]}, 1);
      },
      three, [](Tensor const& x) { return picked(x, x.shape(), [](I i) {
                                     return At{i[0], (i[1] + 2) % 3, i[2]};
                                   }); })
      .bad = {{[] { split(ones({3}), 0); }, {"split", "got 0"}}};
  OpCase to{.name = "to",
            .covers = "to",
            .inputs = {real()},
            .shapes = unary_shapes,
            .op = [](Tensors const& x) { return Tensors{x[0].to(Dtype::f32).to(x[0].dtype())}; },
            .scalar = [](double const* x) { return x[0]; }};
  to.differentiable = false;  // rounds to f32, which differences see; its gradient is in tape_test.cpp
  list().push_back(to);
  OpCase joined{.name = "cat",
                .covers = "cat",
                .inputs = {real(), real(), real()},
                .shapes = {{{2, 3}, {2, 1}, {2, 3}},
                           {{1, 0}, {1, 5}, {1, 2}},
                           {{0, 2}, {0, 3}, {0, 1}},
                           {{3, 17}, {3, 9}, {3, 8}}},
                .op =
                    [](Tensors const& x) {
                      return Tensors{cat(x, 1), cat({x[0], x[0]}, 0)};
                    },
                .twin =
                    [](Tensors const& x) {
                      int64_t const a = x[0].size(1), b = x[1].size(1), c = x[2].size(1), rows = x[0].size(0);
                      std::vector<double> out, twice = x[0].detach().to_vector<double>();
                      for (int64_t r = 0; r < rows; ++r)
                        for (auto [t, n] : {std::pair{0, a}, {1, b}, {2, c}})
                          for (int64_t i = 0; i < n; ++i) out.push_back(x[size_t(t)].at(r, i).item());
                      twice.insert(twice.end(), twice.begin(), twice.begin() + int64_t(twice.size()));
                      auto once = x[0].detach().to_vector<double>();
                      once.insert(once.end(), twice.begin(), twice.begin() + int64_t(once.size()));
                      return Tensors{tensor(out, {rows, a + b + c}), tensor(once, {2 * rows, a})};
                    }};
  joined.elementwise_bits = true;
  joined.bad = {{[] { cat({}); }, {"cat", "at least one"}},
                {[] {
                   cat({ones({2, 3}), ones({3, 3})}, 1);
                 },
                 {"cat", "tensor 1", "[3, 3]", "[2, 3]", "axis 1"}},
                {[] {
                   cat({ones({2}), Tensor()});
                 },
                 {"cat", "undefined"}},
                {[] {
                   cat({ones({2}), ones({2, 2})});
                 },
                 {"cat", "tensor 1"}},
                {[] {
                   cat({scalar(1), scalar(2)});
                 },
                 {"cat"}}};
  list().push_back(joined);
  OpCase stacked{.name = "stack",
                 .covers = "stack",
                 .inputs = {real(), real()},
                 .shapes = {{{2, 3}, {2, 3}}, {{}, {}}, {{9}, {9}}},
                 .op = [](Tensors const& x) { return Tensors{stack(x, -1)}; },
                 .twin =
                     [](Tensors const& x) {
                       std::vector<double> out;
                       auto const a = x[0].detach().to_vector<double>(), b = x[1].detach().to_vector<double>();
                       for (size_t i = 0; i < a.size(); ++i) out.push_back(a[i]), out.push_back(b[i]);
                       Shape shape = x[0].shape();
                       shape.push_back(2);
                       return Tensors{tensor(out, shape)};
                     }};
  stacked.bad = {{[] { stack({}); }, {"at least one"}}, {[] { stack({ones({2}), ones({3})}); }, {"[", "2", "3"}}};
  list().push_back(stacked);
  for (bool lower : {true, false})
    for (int64_t offset : {-1, 0, 2})
      rearrangement(
          lower ? "tril " + std::to_string(offset) : "triu " + std::to_string(offset),
          [=](Tensor const& x) { return lower ? tril(x, offset) : triu(x, offset); },
          {{{4, 3}}, {{2, 3, 5}}, {{1, 1}}, {{0, 3}}},
          [=](Tensor const& x) {
            return picked(x, x.shape(), [&](I i) {
              int64_t const d = i[i.size() - 1] - i[i.size() - 2];
              return (lower ? d <= offset : d >= offset) ? i : At(i.size(), -1);
            });
          });
}

// ---- products -------------------------------------------------------------------------------------------------------

Tensor matmul_loops(Tensor a, Tensor b) {
  bool const row = a.rank() == 1, column = b.rank() == 1;
  if (row) a = a.unsqueeze(0);
  if (column) b = b.unsqueeze(1);
  int64_t const m = a.size(-2), k = a.size(-1), n = b.size(-1);
  Shape al = a.shape(), bl = b.shape();
  al.erase(a.rank() - 1), al.erase(a.rank() - 2), bl.erase(b.rank() - 1), bl.erase(b.rank() - 2);
  Shape out = broadcast("twin", al, bl), as = out, bs = out;
  as.push_back(m), as.push_back(k), bs.push_back(k), bs.push_back(n);
  auto const x = a.detach().expand(as).to_vector<double>(), y = b.detach().expand(bs).to_vector<double>();
  int64_t const batch = numel(out);
  std::vector<double> z(size_t(batch * m * n));
  for (int64_t l = 0; l < batch; ++l)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t p = 0; p < k; ++p)
        for (int64_t j = 0; j < n; ++j)
          z[size_t((l * m + i) * n + j)] += x[size_t((l * m + i) * k + p)] * y[size_t((l * k + p) * n + j)];
  if (!row) out.push_back(m);
  if (!column) out.push_back(n);
  return tensor(z, out);
}

void product_cases() {
  OpCase c{.name = "matmul",
           .covers = "matmul",
           .inputs = {real(), real()},
           .shapes = {{{3, 4}, {4, 5}},
                      {{2, 3, 4}, {4, 2}},
                      {{3}, {3}},
                      {{2, 1, 2, 3}, {3, 3, 2}},
                      {{4}, {2, 4, 3}},
                      {{2, 3, 4}, {4}},
                      {{1, 1}, {1, 1}},
                      {{7, 9}, {9, 17}},
                      {{33, 8}, {8, 65}},
                      {{3, 0}, {0, 2}},
                      {{0, 3}, {3, 2}},
                      {{2, 3}, {3, 0}},
                      {{0, 2, 3}, {0, 3, 2}},
                      {{5, 70, 40}, {5, 40, 30}},
                      {{2, 3, 2, 2}, {2, 1, 2, 2}}},
           .op = [](Tensors const& x) { return Tensors{matmul(x[0], x[1])}; },
           .twin = [](Tensors const& x) { return Tensors{matmul_loops(x[0], x[1])}; }};
  c.f32 = 2e-5, c.f64 = 1e-12, c.gradient_f32 = 1e-4;
  c.large = {{300, 201}, {201, 170}};
  c.bad = {{[] {
              matmul(ones({2, 3}), ones({4, 5}));
            },
            {"matmul", "[2, 3]", "[4, 5]", "size 3", "4", "Remedy"}},
           {[] {
              matmul(ones({2, 2, 3}), ones({4, 5}));
            },
            {"matmul", "[2, 2, 3]", "[4, 5]"}},
           {[] {
              matmul(ones({2, 2, 3}), ones({3, 3, 5}));
            },
            {"matmul", "[2]", "[3]"}},
           {[] { matmul(scalar(1), ones({3})); }, {"matmul", "at least one axis"}},
           {[] { matmul(arange(3), arange(3)); }, {"matmul", "i64"}},
           {[] { matmul(Tensor(), ones({3})); }, {"matmul"}}};
  list().push_back(c);
  for (bool with_bias : {true, false}) {
    OpCase l{.name = with_bias ? "linear" : "linear without bias",
             .covers = "linear",
             .inputs = {real(), real()},
             .shapes = {{{3, 4}, {5, 4}},
                        {{2, 3, 4}, {2, 4}},
                        {{4}, {3, 4}},
                        {{1, 1}, {1, 1}},
                        {{2, 7, 9}, {17, 9}},
                        {{0, 3}, {2, 3}},
                        {{3, 0}, {2, 0}},
                        {{33, 8}, {65, 8}},
                        {{2, 3}, {0, 3}}},
             .op = [=](Tensors const& x) { return Tensors{linear(x[0], x[1], with_bias ? x[2] : Tensor())}; },
             .twin =
                 [=](Tensors const& x) {
                   Tensor const y = matmul_loops(x[0], x[1].t());
                   return Tensors{with_bias ? y + x[2] : y};
                 }};
    l.f32 = 2e-5, l.f64 = 1e-12, l.gradient_f32 = 1e-4;
    l.large = {{300, 201}, {170, 201}};
    if (with_bias) {
      l.inputs.push_back(real());
      for (Shapes& s : l.shapes) s.push_back({s[1][0]});
      l.large.push_back({170});
    }
    l.bad = {{[] {
                linear(ones({2, 3}), ones({5, 4}));
              },
              {"linear", "[.., 4]", "[5, 4]", "[2, 3]"}},
             {[] {
                linear(ones({2, 4}), ones({5, 4}), ones({4}));
              },
              {"linear", "bias of shape [5]", "[4]"}},
             {[] {
                linear(ones({2, 4}), ones({5, 4}, Dtype::f64));
              },
              {"linear", "f32", "f64"}},
             {[] {
                linear(Tensor(), ones({5, 4}));
              },
              {"linear"}}};
    list().push_back(l);
  }
}

// ---- neural primitives ----------------------------------------------------------------------------------------------

Tensor optional(Tensors const& x, size_t i) { return i < x.size() ? x[i] : Tensor(); }

void neural_cases() {
  for (bool log : {false, true}) {
    auto fused = log ? heed::log_softmax : heed::softmax;
    auto twin = log ? naive::log_softmax : naive::softmax;
    OpCase c{
        .name = log ? "log_softmax" : "softmax",
        .covers = log ? "log_softmax" : "softmax",
        .inputs = {real(-4, 4)},
        .shapes = {{{3, 5}}, {{1}}, {{2, 3, 4}}, {{7}}, {{2, 8}}, {{3, 9}}, {{2, 17}}, {{3, 33}}, {{0, 4}}, {{5, 130}}},
        .op = [=](Tensors const& x) { return Tensors{fused(x[0], -1)}; },
        .twin = [=](Tensors const& x) { return Tensors{twin(x[0], -1)}; }};
    c.large = {{300, 513}};
    c.bad = {{[=] {
                fused(ones({2, 3}), 2);
              },
              {c.name, "got 2"}},
             {[=] { fused(scalar(1), 0); }, {c.name}},
             {[=] { fused(arange(4), 0); }, {c.name, "i64"}},
             {[=] { fused(Tensor(), 0); }, {c.name}}};
    list().push_back(c);
    c.name += " first axis";
    c.shapes = {{{3, 5}}, {{2, 3, 4}}, {{9, 2}}};
    c.op = [=](Tensors const& x) { return Tensors{fused(x[0], 0)}; };
    c.twin = [=](Tensors const& x) { return Tensors{twin(x[0], 0)}; };
    c.bad = {};
    list().push_back(c);
  }
  OpCase lse{.name = "logsumexp naive",
             .covers = "logsumexp",
             .inputs = {real(-4, 4)},
             .shapes = {{{3, 5}}, {{1}}, {{2, 3, 4}}, {{2, 33}}},
             .op =
                 [](Tensors const& x) {
                   return Tensors{logsumexp(x[0], -1), logsumexp(x[0], 0, true)};
                 },
             .twin =
                 [](Tensors const& x) {
                   return Tensors{naive::logsumexp(x[0], -1), naive::logsumexp(x[0], 0, true)};
                 }};
  list().push_back(lse);

  for (int scales : {0, 1, 2}) {
    OpCase c{.name = "layer_norm " + std::to_string(scales),
             .covers = "layer_norm",
             .inputs = {real()},
             .shapes = {{{3, 5}}, {{2, 2, 3}}, {{7}}, {{2, 8}}, {{3, 9}}, {{2, 17}}, {{3, 33}}, {{0, 4}}, {{5, 130}}},
             .op = [](Tensors const& x) { return Tensors{layer_norm(x[0], optional(x, 1), optional(x, 2))}; },
             .twin = [](Tensors const& x) { return Tensors{naive::layer_norm(x[0], optional(x, 1), optional(x, 2))}; }};
    c.large = {{500, 257}};
    for (int s = 0; s < scales; ++s) {
      c.inputs.push_back(real());
      for (Shapes& shapes : c.shapes) shapes.push_back({shapes[0].back()});
      c.large.push_back({257});
    }
    c.gradcheck.tolerance = 2e-6;  // third derivatives grow as the variance shrinks
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
    c.bad = {{[] { layer_norm(scalar(1)); }, {"layer_norm", "at least one axis"}},
             {[] {
                layer_norm(ones({2, 3}), ones({4}));
              },
              {"layer_norm", "weight of shape [3]", "[2, 3]", "[4]"}},
             {[] {
                layer_norm(ones({2, 3}), ones({3}), ones({2}));
              },
              {"layer_norm", "bias of shape [3]", "[2]"}},
             {[] {
                layer_norm(ones({2, 3}), ones({3}, Dtype::f64));
              },
              {"layer_norm", "f32", "f64"}},
             {[] { layer_norm(arange(4)); }, {"layer_norm", "i64"}},
             {[] { layer_norm(Tensor()); }, {"layer_norm"}}};
    list().push_back(c);
  }
  for (int scales : {0, 1}) {
    OpCase c{.name = "rms_norm " + std::to_string(scales),
             .covers = "rms_norm",
             .inputs = {real()},
             .shapes = {{{3, 5}}, {{2, 2, 3}}, {{7}}, {{2, 8}}, {{3, 9}}, {{2, 17}}, {{3, 33}}, {{0, 4}}, {{5, 130}}},
             .op = [](Tensors const& x) { return Tensors{rms_norm(x[0], optional(x, 1))}; },
             .twin = [](Tensors const& x) { return Tensors{naive::rms_norm(x[0], optional(x, 1))}; }};
    c.large = {{500, 257}};
    if (scales) {
      c.inputs.push_back(real());
      for (Shapes& shapes : c.shapes) shapes.push_back({shapes[0].back()});
      c.large.push_back({257});
    }
    c.gradcheck.tolerance = 2e-6;
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
    c.bad = {{[] {
                rms_norm(ones({2, 3}), ones({4}));
              },
              {"rms_norm", "weight of shape [3]", "[4]"}},
             {[] { rms_norm(scalar(1)); }, {"rms_norm"}}};
    list().push_back(c);
  }

  for (Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum})
    for (double smoothing : {0., 0.2})
      for (int64_t ignored : {-100, 2}) {
        CrossEntropyOptions const options{
            .ignore_index = ignored, .label_smoothing = smoothing, .reduction = reduction};
        OpCase c{.name = "cross_entropy " + std::to_string(int(reduction)) + (smoothing > 0 ? " smoothed" : "") +
                         (ignored >= 0 ? " ignoring" : ""),
                 .covers = "cross_entropy",
                 .inputs = {real(-3, 3), index(5)},
                 .shapes = {{{6, 5}, {6}}, {{2, 3, 7}, {2, 3}}, {{5}, {}}, {{9, 8}, {9}}, {{17, 33}, {17}}},
                 .op = [=](Tensors const& x) { return Tensors{cross_entropy(x[0], x[1], options)}; },
                 .twin = [=](Tensors const& x) { return Tensors{naive::cross_entropy(x[0], x[1], options)}; }};
        c.large = {{400, 257}, {400}};
        c.bad = {{[] {
                    cross_entropy(ones({2, 3}), zeros({3}, Dtype::i64));
                  },
                  {"cross_entropy", "[2] i64", "[2, 3]", "[3]"}},
                 {[] {
                    cross_entropy(ones({2, 3}), zeros({2}));
                  },
                  {"cross_entropy", "i64", "f32"}},
                 {[] {
                    cross_entropy(ones({2, 3}), full({2}, 3, Dtype::i64));
                  },
                  {"cross_entropy", "target 3 of row 0", "3 classes"}},
                 {[] {
                    cross_entropy(ones({2, 3}), full({2}, -1, Dtype::i64));
                  },
                  {"cross_entropy", "target -1 of row 0"}},
                 {[] { cross_entropy(scalar(1), zeros({}, Dtype::i64)); }, {"cross_entropy"}},
                 {[] {
                    cross_entropy(ones({2, 3}), zeros({2}, Dtype::i64), {.label_smoothing = 1.5});
                  },
                  {"cross_entropy", "1.5"}},
                 {[] { cross_entropy(Tensor(), zeros({2}, Dtype::i64)); }, {"cross_entropy"}},
                 {[] {
                    cross_entropy(ones({2, 3}), Tensor());
                  },
                  {"cross_entropy"}}};
        list().push_back(c);
      }

  OpCase lookup{
      .name = "embedding",
      .covers = "embedding",
      .inputs = {index(4), real()},
      .shapes = {{{2, 3}, {4, 5}}, {{}, {4, 3}}, {{7}, {5, 1}}, {{0}, {4, 8}}, {{9}, {4, 33}}, {{3, 5}, {6, 17}}},
      .op = [](Tensors const& x) { return Tensors{embedding(x[0], x[1])}; },
      .twin = [](Tensors const& x) { return Tensors{naive::embedding(x[0], x[1])}; }};
  lookup.large = {{3000}, {4, 64}};
  lookup.bad = {{[] {
                   embedding(full({2}, 4, Dtype::i64), ones({4, 3}));
                 },
                 {"embedding", "index 4 at position 0", "4 rows", "0 to 3"}},
                {[] {
                   embedding(full({2}, -1, Dtype::i64), ones({4, 3}));
                 },
                 {"embedding", "index -1"}},
                {[] {
                   embedding(zeros({2}), ones({4, 3}));
                 },
                 {"embedding", "i64", "f32"}},
                {[] { embedding(zeros({2}, Dtype::i64), ones({4})); }, {"embedding", "[4]"}},
                {[] {
                   embedding(Tensor(), ones({4, 3}));
                 },
                 {"embedding"}},
                {[] { embedding(zeros({2}, Dtype::i64), Tensor()); }, {"embedding"}}};
  list().push_back(lookup);

  OpCase drop{.name = "dropout",
              .covers = "dropout",
              .inputs = {real()},
              .shapes = {{{3, 5}}, {{}}, {{1}}, {{7}}, {{8}}, {{9}}, {{17}}, {{33}}, {{0}}, {{4, 65}}},
              .op =
                  [](Tensors const& x) {
                    return Tensors{dropout(x[0], 0.3, Draw{42, 7})};
                  },
              .twin =
                  [](Tensors const& x) {
                    return Tensors{naive::dropout(x[0], 0.3, Draw{42, 7})};
                  }};
  drop.elementwise_bits = true;
  drop.large = {{3, big}};
  drop.bad = {{[] { dropout(ones({2}), 1.0); }, {"dropout", "got 1"}},
              {[] { dropout(ones({2}), -0.1); }, {"dropout", "-0.1"}},
              {[] { dropout(Tensor(), 0.5); }, {"dropout"}},
              {[] { dropout(arange(3), 0.5); }, {"dropout", "i64"}},
              {[] { dropout(ones({2}), std::nan("")); }, {"dropout", "nan"}}};
  list().push_back(drop);
}

// ---- attention ------------------------------------------------------------------------------------------------------

struct AttendVariant {
  char const* name;
  AttendOptions options;
  bool masked = false;
};

void attend_cases() {
  AttendVariant const variants[] = {
      {"", {}},
      {"causal", {.causal = true}},
      {"scaled", {.scale = 0.7}},
      {"window", {.left = 2, .right = 1}},
      {"causal window", {.causal = true, .left = 1}},
      {"dropout", {.dropout = 0.3, .draw = {3, 4}}},
      {"masked", {}, true},
      {"masked causal dropout", {.causal = true, .dropout = 0.2, .draw = {5, 6}}, true},
  };
  for (AttendVariant const& v : variants) {
    auto with = [v](Tensors const& x) {
      AttendOptions o = v.options;
      if (v.masked) o.mask = x[3];
      return o;
    };
    OpCase c{
        .name = std::string("attend ") + v.name,
        .covers = "attend",
        .inputs = {real(), real(), real()},
        .shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}, {1, 1, 4, 3}},  // heads share keys
                   {{2, 2, 4, 3}, {2, 2, 4, 3}, {2, 2, 4, 3}},
                   {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}},
                   {{1, 1, 5, 2}, {1, 1, 3, 2}, {1, 1, 3, 1}},  // more queries than keys: some see nothing if causal
                   {{1, 4, 17, 8}, {1, 2, 33, 8}, {1, 2, 33, 9}},
                   {{2, 1, 9, 7}, {2, 1, 9, 7}, {2, 1, 9, 17}},
                   {{1, 1, 70, 16}, {1, 1, 90, 16}, {1, 1, 90, 16}},
                   {{0, 2, 3, 2}, {0, 2, 3, 2}, {0, 2, 3, 2}},
                   {{1, 2, 0, 2}, {1, 2, 3, 2}, {1, 2, 3, 2}},
                   {{1, 2, 3, 2}, {1, 2, 0, 2}, {1, 2, 0, 2}}},
        .op =
            [with](Tensors const& x) {
              auto y = attend(x[0], x[1], x[2], with(x));
              return Tensors{y.out, y.lse};
            },
        .twin =
            [with](Tensors const& x) {
              auto y = naive::attend(x[0], x[1], x[2], with(x));
              return Tensors{y.out, y.lse};
            }};
    c.large = {{1, 2, 150, 16}, {1, 2, 150, 16}, {1, 2, 150, 16}};
    if (v.masked) {
      c.inputs.push_back(mask());
      for (Shapes& s : c.shapes) s.push_back({s[0][2], s[1][2]});
      c.shapes[1].back() = {2, 1, 1, 4};
      c.large.push_back({150, 150});
    }
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 1e-4;
    c.gradcheck.full_up_to = 30;
    list().push_back(c);
  }
  list().back().bad = {
      {[] {
         attend(ones({2, 3}), ones({2, 3}), ones({2, 3}));
       },
       {"attend", "rank 4", "q [2, 3]"}},
      {[] {
         attend(ones({1, 3, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}));
       },
       {"attend", "not a multiple", "q [1, 3, 2, 2]", "k [1, 2, 2, 2]"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 3}), ones({1, 2, 2, 2}));
       },
       {"attend", "last axis"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({2, 2, 2, 2}), ones({2, 2, 2, 2}));
       },
       {"attend", "batch"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 3, 2}), ones({1, 2, 2, 2}));
       },
       {"attend", "heads or length"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}, Dtype::f64), ones({1, 2, 2, 2}));
       },
       {"attend", "f64"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), {.left = -1});
       },
       {"attend", "left -1"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), {.dropout = 1});
       },
       {"attend", "got 1"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), {.mask = ones({2, 2})});
       },
       {"attend", "bool mask", "f32"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), {.mask = ones({3, 2}) > 0.0});
       },
       {"attend", "[3, 2]"}},
      {[] {
         attend(Tensor(), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}));
       },
       {"attend", "undefined"}}};
  OpCase self{.name = "attend to itself",
              .covers = "attend",
              .inputs = {real()},
              .shapes = {{{1, 2, 4, 3}}, {{1, 1, 17, 8}}},
              .op =
                  [](Tensors const& x) {
                    auto y = attend(x[0], x[0], x[0], {.causal = true});
                    return Tensors{y.out, y.lse};
                  },
              .twin =
                  [](Tensors const& x) {
                    auto y = naive::attend(x[0], x[0], x[0], {.causal = true});
                    return Tensors{y.out, y.lse};
                  }};
  self.f32 = 1e-5, self.f64 = 1e-12, self.gradient_f32 = 1e-4;
  list().push_back(self);
  OpCase only_lse = self;
  only_lse.name = "attend lse only";
  only_lse.inputs = {real(), real()};
  only_lse.shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}}, {{1, 1, 17, 8}, {1, 1, 19, 8}}};
  only_lse.op = [](Tensors const& x) { return Tensors{attend(x[0], x[1], x[1].detach()).lse}; };
  only_lse.twin = [](Tensors const& x) { return Tensors{naive::attend(x[0], x[1], x[1].detach()).lse}; };
  list().push_back(only_lse);
  OpCase weights{
      .name = "attention_weights",
      .covers = "attention_weights",
      .inputs = {real(), real()},
      .shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}}, {{1, 1, 5, 2}, {1, 1, 3, 2}}, {{2, 2, 9, 7}, {2, 2, 9, 7}}},
      .op = [](Tensors const& x) { return Tensors{attention_weights(x[0], x[1], {.causal = true, .left = 3})}; },
      .twin =
          [](Tensors const& x) {
            // Values that are an identity show the weights.
            Tensor const eye = (arange(x[1].size(2)).unsqueeze(1) == arange(x[1].size(2))).to(x[1].dtype());
            Tensor const v = eye.expand({x[1].size(0), x[1].size(1), x[1].size(2), x[1].size(2)});
            return Tensors{naive::attend(x[0], x[1], v, {.causal = true, .left = 3}).out};
          }};
  weights.f32 = 1e-5, weights.f64 = 1e-12, weights.gradient_f32 = 1e-4;
  list().push_back(weights);
}

std::vector<OpCase>& cases() {
  static bool const filled = [] {
    list().reserve(400);  // the makers above hand out references
    pointwise_cases();
    reduction_cases();
    shape_cases();
    product_cases();
    neural_cases();
    attend_cases();
    return true;
  }();
  (void)filled;
  return list();
}

template <class F>
void every_case(F f) {
  if (bench_filter()) return;
  for (OpCase const& c : cases()) f(c);
}

/// Declared names in the file between two marks: what follows "Tensor", "Attended" or "std::vector<Tensor>" and
/// precedes "(".
std::set<std::string> declared(std::string const& path, std::string const& from, std::string const& to) {
  std::ifstream file(std::string(HEED_SOURCE_DIR) + path);
  REQUIRE(file);
  std::set<std::string> names;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.find(from) != std::string::npos) inside = true;
    if (line.find(to) != std::string::npos) inside = false;
    if (!inside) continue;
    size_t start = line.find_first_not_of(' ');
    if (start == std::string::npos) continue;
    if (line.compare(start, 7, "inline ") == 0) start += 7;
    for (std::string const type : {"Tensor ", "Tensor& ", "Attended ", "std::vector<Tensor> "})
      if (line.compare(start, type.size(), type) == 0) {
        std::string const rest = line.substr(start + type.size());
        size_t const paren = rest.find('(', rest.rfind("operator", 0) == 0 ? 9 : 0);
        std::string const found = rest.substr(0, std::min(paren, rest.size()));
        // Members and local variables of the same type have a space or a semicolon before the parenthesis.
        if (paren != std::string::npos && found.find_first_of(" ;") == std::string::npos) names.insert(found);
      }
  }
  return names;
}

}  // namespace

TEST_CASE("values: every op against its twin, on every level, in f32 and f64, for odd, empty and broadcast shapes") {
  every_case(check_values);
}

TEST_CASE("gradients: every differentiable op against central differences, and f32 against f64") {
  every_case([](OpCase const& c) {
    if (c.differentiable) check_gradients(c);
  });
}

TEST_CASE("second derivatives against central differences of the gradient") {
  every_case([](OpCase const& c) {
    if (c.differentiable && c.second_order) check_second_order(c);
  });
}

TEST_CASE("strides: transposed, stepped and expanded operands give what contiguous ones give") {
  every_case(check_strides);
}

TEST_CASE("any subset of the operands may require gradients") {
  every_case([](OpCase const& c) {
    if (c.differentiable) check_subsets(c);
  });
}

TEST_CASE("threads: 1, 2 and 4 give the same bits") { every_case(check_threads); }

TEST_CASE("special values: NaN, infinities, signed zero, denormals") { every_case(check_special); }

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
                        {heed::round, 0.5, 0},
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

TEST_CASE("rows: special values of reductions, softmax and losses") {
  auto row = [](std::vector<double> v, Dtype dtype) { return tensor(v, {int64_t(v.size())}).to(dtype); };
  on_every_isa([&](Isa level) {
    for (Dtype dtype : {Dtype::f32, Dtype::f64})
      for (int padding : {0, 20}) {
        INFO(std::string(name(level)), " ", std::string(name(dtype)), " padding ", padding);
        auto padded = [&](std::vector<double> v, double with) {
          v.insert(v.end(), size_t(padding), with);
          return row(v, dtype);
        };
        CHECK(std::isnan(sum(padded({inf, -inf}, 0)).item()));
        CHECK(sum(padded({inf, 1}, 0)).item() == inf);
        CHECK(std::isnan(amax(padded({1, nan_, inf}, 0), {0}).item()));
        CHECK(std::isnan(amin(padded({nan_, 1, -inf}, 0), {0}).item()));
        CHECK(amax(padded({-inf, -inf}, -inf), {0}).item() == -inf);
        CHECK(argmax(padded({1, 3, 3, 2}, 0), 0).item<int64_t>() == 1);
        CHECK(argmin(padded({1, -3, -3, 2}, 0), 0).item<int64_t>() == 1);
        CHECK(logsumexp(padded({-inf, -inf}, -inf), 0).item() == -inf);
        CHECK(logsumexp(padded({inf, 1}, 0), 0).item() == inf);
        CHECK(logsumexp(padded({1e4, 1e4}, -inf), 0).item() == doctest::Approx(1e4 + std::log(2.)));
        CHECK(std::isnan(logsumexp(padded({1, nan_}, 0), 0).item()));
        CHECK(softmax(padded({-inf, 2, -inf, 2}, -inf)).to_vector<double>()[1] == 0.5);
        CHECK(softmax(padded({-inf, 2, -inf, 2}, -inf)).to_vector<double>()[0] == 0);
        CHECK(log_softmax(padded({-inf, 2}, -inf)).to_vector<double>()[0] == -inf);
        CHECK(softmax(padded({1e4, 0}, 0)).to_vector<double>()[0] == 1);
        for (double v : softmax(padded({1, nan_}, 0)).to_vector<double>()) CHECK(std::isnan(v));
        CHECK(prod(padded({2, 0, 3}, 1), 0).item() == 0);
        // A zero among the factors: the gradient needs no division.
        Tensor const factors = padded({2, 0, 3}, 1).requires_grad_();
        auto const d = grad({prod(factors, 0)}, {factors})[0].to_vector<double>();
        CHECK((d[0] == 0 && d[1] == 6 && d[2] == 0));
        // Constant rows have no variance: the norm is the bias.
        for (double v : layer_norm(padded({5, 5}, 5)).to_vector<double>()) CHECK(std::abs(v) < 1e-3);
        for (double v : rms_norm(padded({0, 0}, 0)).to_vector<double>()) CHECK(v == 0);
        // Losses.
        Tensor const logits = padded({1, 2, 3}, -inf).unsqueeze(0);
        Tensor const ignored = full({1}, -100, Dtype::i64), second = full({1}, 1, Dtype::i64);
        CHECK(std::isnan(cross_entropy(logits, ignored).item()));  // the mean of no rows
        CHECK(cross_entropy(logits, ignored, {.reduction = Reduction::sum}).item() == 0);
        CHECK(cross_entropy(logits, second).item() == doctest::Approx(std::log(std::exp(-1.) + 1 + std::exp(1.))));
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

TEST_CASE("attend: what is masked is never read, and a query that sees nothing gives 0") {
  on_every_isa([&](Isa level) {
    for (Dtype dtype : {Dtype::f32, Dtype::f64})
      for (int64_t s : {5, 40}) {
        INFO(std::string(name(level)), " ", std::string(name(dtype)), " keys ", s);
        // Keys 1 and s − 1 are masked for all queries, and query 2 sees nothing.
        std::vector<uint8_t> seen(size_t(6 * s), 1);
        for (int64_t i = 0; i < 6; ++i) seen[size_t(i * s + 1)] = seen[size_t(i * s + s - 1)] = 0;
        for (int64_t j = 0; j < s; ++j) seen[size_t(2 * s + j)] = 0;
        AttendOptions options;
        options.mask = tensor(seen, {6, s}).to(Dtype::boolean);
        Tensor const q = numbers({2, 2, 6, 8}, 1, dtype), k = numbers({2, 2, s, 8}, 2, dtype),
                     v = numbers({2, 2, s, 8}, 3, dtype);
        auto run = [&](double with, bool naive) {
          Tensor const query = q.clone().requires_grad_();
          Tensor key = k.clone(), value = v.clone();
          for (int64_t j : {int64_t{1}, s - 1}) {
            key.select(2, j).fill_(with);
            value.select(2, j).fill_(with);
          }
          key.requires_grad_();
          value.requires_grad_();
          auto const y = naive ? naive::attend(query, key, value, options) : attend(query, key, value, options);
          auto d = grad({y.out, y.lse}, {query, key, value},
                        {numbers(y.out.shape(), 4, dtype), numbers(y.lse.shape(), 5, dtype)});
          d.push_back(y.out);
          d.push_back(y.lse);
          return d;
        };
        auto const clean = run(0, false);
        for (double with : {nan_, inf, -inf})
          for (bool naive : {false, true}) {
            auto const dirty = run(with, naive);
            for (size_t i = 0; i < clean.size(); ++i)
              CHECK(differs(dirty[i], clean[i], dtype == Dtype::f32 ? 2e-5 : 1e-12) == "");
          }
        for (int64_t j : {int64_t{1}, s - 1})
          for (size_t i : {1, 2})
            for (double g : clean[i].select(2, j).to_vector<double>()) CHECK(g == 0);
        for (double y : clean[3].select(2, 2).to_vector<double>()) CHECK(y == 0);
        for (double y : clean[4].select(2, 2).to_vector<double>()) CHECK(y == -inf);
        for (double g : clean[0].select(2, 2).to_vector<double>()) CHECK(g == 0);
      }
  });
}

TEST_CASE("attend: a window and a causal mask are the mask they stand for") {
  Tensor const q = numbers({1, 2, 20, 8}, 1), k = numbers({1, 2, 30, 8}, 2), v = numbers({1, 2, 30, 8}, 3);
  for (int64_t left : {int64_t{0}, int64_t{3}, AttendOptions::unlimited})
    for (int64_t right : {int64_t{0}, int64_t{4}, AttendOptions::unlimited}) {
      std::vector<uint8_t> seen(600);
      for (int64_t i = 0; i < 20; ++i)
        for (int64_t j = 0; j < 30; ++j) {
          int64_t const at = i + 10;  // queries are aligned with the last keys
          seen[size_t(i * 30 + j)] = (left == AttendOptions::unlimited || at - j <= left) &&
                                     (right == AttendOptions::unlimited || j - at <= right);
        }
      AttendOptions window, mask;
      window.left = left;
      window.right = right;
      mask.mask = tensor(seen, {20, 30}).to(Dtype::boolean);
      CHECK(differs(attend(q, k, v, window).out, attend(q, k, v, mask).out, 1e-13) == "");
      if (right == 0) {
        window.right = AttendOptions::unlimited;
        window.causal = true;
        CHECK(same_bits(attend(q, k, v, window).out, [&] {
          auto w = window;
          w.causal = false, w.right = 0;
          return attend(q, k, v, w).out;
        }()));
      }
    }
}

TEST_CASE("bad input names the op and what was wrong") { every_case(check_bad); }

TEST_CASE("timings: --bench[=filter] prints them in place of the other checks") {
  CHECK(cases().size() > 120);
  auto const filter = bench_filter();
  if (!filter) return;
  size_t timed = 0;
  for (OpCase const& c : cases())
    if (!c.large.empty() && c.name.find(*filter) != std::string::npos) bench(c), ++timed;
  CHECK(timed > 0);
}

TEST_CASE("the catalogue has no op without a case") {
  std::set<std::string> const not_differentiable = {"empty",      "full",      "zeros",      "ones",       "zeros_like",
                                                    "ones_like",  "arange",    "tensor",     "scalar",     "rand",
                                                    "randn",      "randint",   "operator==", "operator!=", "operator<",
                                                    "operator<=", "operator>", "operator>=", "operator&",  "operator|",
                                                    "operator!",  "argmax",    "argmin"};
  std::set<std::string> const members_elsewhere = {
      "grad",  "detach", "requires_grad_", "to",   "copy_", "fill_",
      "zero_", "add_",   "sub_",           "mul_", "div_"};  // tape_test.cpp
  std::set<std::string> with_gradient, names;
  for (OpCase const& c : cases()) {
    CHECK_MESSAGE(names.insert(c.name).second, "two cases are called ", c.name);
    if (c.differentiable) with_gradient.insert(c.covers);
  }
  auto const ops = declared("/engine/ops.h", "---- creation", "namespace naive {");
  auto const members = declared("/engine/tensor.h", "class Tensor {", "private:");
  CHECK(ops.size() > 80);
  CHECK(members.size() > 20);
  for (std::string const& op : ops) CHECK_MESSAGE(with_gradient.count(op) + not_differentiable.count(op) == 1, op);
  for (std::string const& op : members) CHECK_MESSAGE(with_gradient.count(op) + members_elsewhere.count(op) == 1, op);
  for (std::string const& op : with_gradient)
    CHECK_MESSAGE(ops.count(op) + members.count(op) > 0, op, " is not in the catalogue");
  for (std::string const& op : not_differentiable) CHECK_MESSAGE(ops.count(op) == 1, op, " is not in the catalogue");
}
