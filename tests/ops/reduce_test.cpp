// Reductions.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

constexpr int64_t big = 30011;

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

double largest(std::vector<double> const& v) {
  double m = -inf;
  for (double x : v) m = x > m || std::isnan(x) ? x : m;
  return m;
}
double smallest(std::vector<double> const& v) {
  double m = inf;
  for (double x : v) m = x < m || std::isnan(x) ? x : m;
  return m;
}
double average(std::vector<double> const& v) { return total(v) / double(v.size()); }
double product(std::vector<double> const& v) {
  double p = 1;
  for (double x : v) p *= x;
  return p;
}
double spread(std::vector<double> const& v, double correction) {
  double const m = average(v);
  double s = 0;
  for (double x : v) s += (x - m) * (x - m);
  return s / std::max(double(v.size()) - correction, 0.0);
}
double middle(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[(v.size() - 1) / 2];
}
std::vector<double> numbers_of(std::vector<double> const& v) {
  std::vector<double> kept;
  for (double x : v)
    if (!std::isnan(x)) kept.push_back(x);
  return kept;
}
double norm_of(std::vector<double> const& v, double p) {
  double s = 0, top = 0, low = inf;
  for (double x : v) {
    s += p == 0 ? x != 0 : std::pow(std::abs(x), p);
    top = std::max(top, std::abs(x));
    low = std::min(low, std::abs(x));
  }
  return p == inf ? top : p == -inf ? low : p == 0 ? s : std::pow(s, 1 / p);
}
double quantile_of(std::vector<double> v, double q, QuantileInterpolation how) {
  std::sort(v.begin(), v.end());
  double const rank = q * double(v.size() - 1), low = std::floor(rank), high = std::ceil(rank);
  double const a = v[size_t(low)], b = v[size_t(high)];
  switch (how) {
    case QuantileInterpolation::lower:
      return a;
    case QuantileInterpolation::higher:
      return b;
    case QuantileInterpolation::midpoint:
      return (a + b) / 2;
    case QuantileInterpolation::nearest:
      return v[size_t(std::nearbyint(rank))];
    case QuantileInterpolation::linear:
      break;
  }
  return a + (b - a) * (rank - low);
}

/// x with zeros in every third place: products through them, and their gradients.
Tensor pierced(Tensor const& x) {
  std::vector<double> hole;
  for (int64_t i = 0; i < x.numel(); ++i) hole.push_back(i % 3 != 1);
  return x * tensor(hole, x.shape()).to(x.dtype()).to(x.device());
}
/// x with NaN in every fourth place.
Tensor spoilt(Tensor const& x) {
  std::vector<double> hole;
  for (int64_t i = 0; i < x.numel(); ++i) hole.push_back(i % 4 == 1);
  return where(tensor(hole, x.shape()).to(x.device()) != 0.0, nan_, x);
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
  auto lse = [](V v) {
    double m = -inf, s = 0;
    for (double x : v) m = std::max(m, x);
    for (double x : v) s += std::exp(x - m);
    return m + std::log(s);
  };
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
    using Argument = Tensor (*)(Tensor const&, int, bool);
    Argument const f = biggest ? Argument(argmax) : Argument(argmin);
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
  reduction("prod", [](Tensor const& x) { return prod(x, 0); }, {0}, false, product, real(0.5, 1.5),
            {{{3, 5}}, {{1, 1}}, {{7, 2}}, {{8, 4}}, {{4, 0}}, {{9, 17}}});
  reduction("prod last", [](Tensor const& x) { return prod(x, -1, true); }, {-1}, true, product, real(-1, 1),
            {{{3, 5}}, {{2, 0}}, {{3, 1}}});
  auto& lses = reduction(
      "logsumexp", [](Tensor const& x) { return logsumexp(x, -1); }, {-1}, false, lse, real(-3, 3), two);
  lses.large = {{300, 1001}};
  lses.bad = {{[] { logsumexp(ones({2}), 1); }, {"logsumexp", "got 1"}},
              {[] {
                 logsumexp(ones({2, 3}), {0, 0});
               },
               {"logsumexp", "axis 0 is named twice"}}};
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

  OpCase twin{.name = "logsumexp naive",
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
  list().push_back(twin);
}

void more_cases() {
  using V = std::vector<double> const&;
  std::vector<Shapes> const some = {{{3, 5}}, {{2, 9}}, {{33, 7}}, {{1, 1}}};
  auto const undefined = [](auto f, std::string name) { return BadCall{[f] { f(Tensor()); }, {name, "undefined"}}; };
  auto const outside = [](auto f, std::string name) {
    return BadCall{[f] { f(ones({2, 3}), 2); }, {name, "expected an axis from -2 to 1", "got 2"}};
  };
  auto const add_bad = [](std::vector<BadCall> bad) {
    for (BadCall& one : bad) list().back().bad.push_back(std::move(one));
  };

  // products
  reduction("prod all", [](Tensor const& x) { return prod(x); }, {0, 1}, false, product, real(0.5, 1.5),
            {{{3, 5}}, {{2, 2}}, {{0, 4}}});
  add_bad({undefined([](Tensor const& x) { return prod(x); }, "prod"),
           outside([](Tensor const& x, int a) { return prod(x, a); }, "prod")});
  reduction("prod axes",
            [](Tensor const& x) {
              return prod(x, {0, 2}, true);
            },
            {0, 2}, true, product, real(-1.5, 1.5), {{{2, 3, 3}}, {{3, 2, 1}}});
  reduction(
      "prod through zeros", [](Tensor const& x) { return prod(pierced(x), 1); }, {1}, false, [](V) { return 0.0; },
      real(-1.5, 1.5), {{{2, 5}}, {{3, 6}}, {{1, 2}}});
  list().back().twin = [](Tensors const& x) { return Tensors{fold(pierced(x[0]), {1}, false, product)}; };

  // NaN passed over
  for (bool mean : {false, true}) {
    auto const f = [mean](Tensor const& x) { return mean ? nanmean(x, {1}) : nansum(x, {1}); };
    auto& c = reduction(
        mean ? "nanmean" : "nansum", [f](Tensor const& x) { return f(spoilt(x)); }, {1}, false, total, real(), some);
    c.shapes.pop_back();
    c.twin = [mean](Tensors const& x) {
      return Tensors{
          fold(spoilt(x[0]), {1}, false, [mean](V v) { return mean ? average(numbers_of(v)) : total(numbers_of(v)); })};
    };
  }
  list().back().bad = {{[] { nanmean(arange(3)); }, {"nanmean", "i64"}}, {[] { nanmean(Tensor()); }, {"nanmean"}}};
  reduction(
      "nansum all", [](Tensor const& x) { return nansum(x); }, {0, 1}, false, total, real(), some);
  list().back().bad = {{[] { nansum(Tensor()); }, {"nansum"}}, {[] { nansum(ones({2}), {1}); }, {"sum", "got 1"}}};
  reduction(
      "nanmean all", [](Tensor const& x) { return nanmean(x); }, {0, 1}, false, average, real(), some);

  // extremes
  reduction(
      "max", [](Tensor const& x) { return max(x); }, {0, 1}, false, largest, distinct(), some);
  list().back().bad = {{[] { max(zeros({0})); }, {"max", "[0]", "no element"}}, {[] { max(Tensor()); }, {"max"}}};
  reduction(
      "min", [](Tensor const& x) { return min(x); }, {0, 1}, false, smallest, distinct(), some);
  list().back().bad = {{[] { min(zeros({2, 0}), 1); }, {"min", "[2, 0]"}}, {[] { min(Tensor()); }, {"min"}}};
  for (bool keep : {false, true})
    for (bool biggest : {false, true}) {
      using F = Indexed (*)(Tensor const&, int, bool);
      F const f = biggest ? F(max) : F(min);
      OpCase c{.name = std::string(biggest ? "max" : "min") + (keep ? " first" : " last"),
               .covers = biggest ? "max" : "min",
               .inputs = {distinct()},
               .shapes = {{{3, 5}}, {{1, 1}}, {{7, 2}}, {{17, 33}}, {{0, 4}}},
               .op =
                   [=](Tensors const& x) {
                     auto const [values, indices] = f(x[0], keep ? 0 : -1, keep);
                     return Tensors{values, indices};
                   },
               .twin =
                   [=](Tensors const& x) {
                     auto const formula = biggest ? largest : smallest;
                     auto const place = [=](V v) {
                       return double(std::find(v.begin(), v.end(), formula(v)) - v.begin());
                     };
                     int const axis = keep ? 0 : -1;
                     return Tensors{fold(x[0], {axis}, keep, formula), fold(x[0], {axis}, keep, place).to(Dtype::i64)};
                   }};
      if (keep) c.shapes.back() = {{4, 0}};
      list().push_back(c);
    }
  OpCase both{.name = "aminmax",
              .covers = "aminmax",
              .inputs = {distinct()},
              .shapes = some,
              .op =
                  [](Tensors const& x) {
                    auto const [low, high] = aminmax(x[0]);
                    auto const [lows, highs] = aminmax(x[0], 1, true);
                    return Tensors{low, high, lows, highs};
                  },
              .twin =
                  [](Tensors const& x) {
                    return Tensors{fold(x[0], {0, 1}, false, smallest), fold(x[0], {0, 1}, false, largest),
                                   fold(x[0], {1}, true, smallest), fold(x[0], {1}, true, largest)};
                  }};
  both.bad = {{[] { aminmax(zeros({0})); }, {"aminmax", "no element"}},
              outside([](Tensor const& x, int a) { return aminmax(x, a); }, "aminmax")};
  list().push_back(both);
  OpCase everywhere{
      .name = "argmax, argmin of all",
      .covers = "argmax",
      .inputs = {distinct()},
      .shapes = some,
      .op =
          [](Tensors const& x) {
            return Tensors{argmax(x[0]), argmin(x[0])};
          },
      .twin =
          [](Tensors const& x) {
            auto const v = x[0].to_vector<double>();
            auto const at = [&](auto i) { return scalar(double(i - v.begin()), Dtype::i64); };
            return Tensors{at(std::max_element(v.begin(), v.end())), at(std::min_element(v.begin(), v.end()))};
          }};
  everywhere.differentiable = false;
  everywhere.bad = {{[] { argmax(zeros({0})); }, {"argmax", "no element"}},
                    {[] { argmin(zeros({2}) == 0.0); }, {"argmin", "bool"}}};
  list().push_back(everywhere);

  // truth and counts
  OpCase truths{.name = "any, all, count_nonzero",
                .covers = "any",
                .inputs = {bits()},
                .shapes = {{{3, 5}}, {{1, 1}}, {{17, 9}}, {{0, 4}}, {{4, 0}}},
                .op =
                    [](Tensors const& x) {
                      return Tensors{any(x[0]),           all(x[0]),
                                     count_nonzero(x[0]), any(x[0], {0}, true),
                                     all(x[0], {1}),      count_nonzero(x[0], {1}),
                                     any(x[0], {0, 1}),   all(x[0], {-2})};
                    },
                .twin =
                    [](Tensors const& x) {
                      auto const some_ = [](V v) { return double(total(v) > 0); };
                      auto const every = [](V v) { return double(total(v) == double(v.size())); };
                      auto const B = Dtype::boolean;
                      return Tensors{fold(x[0], {0, 1}, false, some_).to(B),
                                     fold(x[0], {0, 1}, false, every).to(B),
                                     fold(x[0], {0, 1}, false, total).to(Dtype::i64),
                                     fold(x[0], {0}, true, some_).to(B),
                                     fold(x[0], {1}, false, every).to(B),
                                     fold(x[0], {1}, false, total).to(Dtype::i64),
                                     fold(x[0], {0, 1}, false, some_).to(B),
                                     fold(x[0], {0}, false, every).to(B)};
                    }};
  truths.differentiable = false;
  for (auto const& [name, f] :
       {std::pair<std::string, Tensor (*)(Tensor const&, Dims const&, bool)>{"any", any}, {"all", all}}) {
    truths.bad.push_back({[f = f] { f(Tensor(), {}, false); }, {name}});
    truths.bad.push_back({[f = f] { f(ones({2}), {1}, false); }, {name, "got 1"}});
  }
  truths.bad.push_back({[] { count_nonzero(Tensor()); }, {"count_nonzero"}});
  truths.bad.push_back({[] { count_nonzero(ones({2}), {0, 0}); }, {"count_nonzero", "twice"}});
  list().push_back(truths);

  // moments
  reduction(
      "var all", [](Tensor const& x) { return var(x); }, {0, 1}, false, [](V v) { return spread(v, 1); }, real(),
      {{{3, 5}}, {{2, 9}}, {{33, 7}}});
  list().back().bad = {{[] { var(arange(3)); }, {"var", "i64"}}, {[] { var(Tensor()); }, {"var"}}};
  reduction(
      "std", [](Tensor const& x) { return heed::std(x); }, {0, 1}, false, [](V v) { return std::sqrt(spread(v, 1)); },
      real(), {{{3, 5}}, {{2, 9}}, {{33, 7}}});
  list().back().bad = {{[] { heed::std(arange(3)); }, {"std", "i64"}},
                       {[] { heed::std(ones({2}), {1}); }, {"std", "got 1"}}};
  reduction(
      "std axes",
      [](Tensor const& x) {
        return heed::std(x, {0, 2}, 0.5, true);
      },
      {0, 2}, true, [](V v) { return std::sqrt(spread(v, 0.5)); }, real(), {{{2, 3, 4}}, {{3, 1, 9}}});
  for (bool root : {false, true}) {
    auto const f = root ? std_mean : var_mean;
    OpCase c{.name = root ? "std_mean" : "var_mean",
             .covers = root ? "std_mean" : "var_mean",
             .inputs = {real()},
             .shapes = {{{3, 5}}, {{4, 2}}},
             .op =
                 [f](Tensors const& x) {
                   auto const [a, b] = f(x[0], {0}, 1, false);
                   auto const [c, d] = f(x[0], {0, 1}, 0, true);
                   return Tensors{a, b, c, d};
                 },
             .twin =
                 [root](Tensors const& x) {
                   auto const g = [root](double correction) {
                     return [=](V v) { return root ? std::sqrt(spread(v, correction)) : spread(v, correction); };
                   };
                   return Tensors{fold(x[0], {0}, false, g(1)), fold(x[0], {0}, false, average),
                                  fold(x[0], {0, 1}, true, g(0)), fold(x[0], {0, 1}, true, average)};
                 }};
    c.bad = {{[f] { f(arange(3), {0}, 1, false); }, {c.name, "i64"}},
             {[f] { f(ones({2}), {1}, 1, false); }, {c.name, "got 1"}}};
    list().push_back(c);
  }

  // norms
  for (double p : {2., 1., 0., 3., 0.5, -1., 1.5, inf, -inf}) {
    Input in = std::isinf(p) ? distinct(0.5, 3) : real(-2, 2, {0});
    reduction(
        "vector_norm " + std::to_string(p), [p](Tensor const& x) { return vector_norm(x, p, {1}); }, {1}, false,
        [p](V v) { return norm_of(v, p); }, in, {{{3, 5}}, {{2, 9}}, {{33, 7}}})
        .f32 = 1e-5;
  }
  list().back().bad = {{[] { vector_norm(arange(3)); }, {"vector_norm", "i64"}},
                       {[] {
                          vector_norm(zeros({2, 0}), inf, {1});
                        },
                        {"vector_norm", "no element"}},
                       {[] {
                          vector_norm(zeros({2, 0}), -1, {1});
                        },
                        {"vector_norm", "no element"}},
                       {[] { vector_norm(ones({2}), 2, {1}); }, {"got 1"}}};
  reduction(
      "norm", [](Tensor const& x) { return norm(x); }, {0, 1}, false, [](V v) { return norm_of(v, 2); }, real(), some);
  reduction(
      "norm axes", [](Tensor const& x) { return norm(x, 3, {0}, true); }, {0}, true, [](V v) { return norm_of(v, 3); },
      real(-2, 2, {0}), some);
  list().back().bad = {{[] { norm(arange(3)); }, {"vector_norm", "i64"}}, {[] { norm(Tensor()); }, {"undefined"}}};
  OpCase distance{.name = "dist",
                  .covers = "dist",
                  .inputs = {real(), real()},
                  .shapes = {{{2, 3}, {2, 3}}, {{2, 3}, {3}}, {{}, {4}}},
                  .op =
                      [](Tensors const& x) {
                        return Tensors{dist(x[0], x[1]), dist(x[0], x[1], 3)};
                      },
                  .twin =
                      [](Tensors const& x) {
                        Shape const s = broadcast("dist", x[0].shape(), x[1].shape());
                        auto const a = x[0].expand(s).to_vector<double>(), b = x[1].expand(s).to_vector<double>();
                        std::vector<double> d;
                        for (size_t i = 0; i < a.size(); ++i) d.push_back(a[i] - b[i]);
                        return Tensors{scalar(norm_of(d, 2), Dtype::f64), scalar(norm_of(d, 3), Dtype::f64)};
                      }};
  distance.f32 = 1e-5;
  distance.bad = {{[] { dist(arange(3), arange(3)); }, {"dist", "i64"}}, {[] { dist(ones({2}), ones({3})); }, {"[2]"}}};
  list().push_back(distance);
  OpCase shrunk{.name = "renorm",
                .covers = "renorm",
                .inputs = {real()},
                .shapes = {{{2, 3}}, {{2, 3, 4}}, {{2, 0}}, {{4, 7}}},
                .op =
                    [](Tensors const& x) {
                      return Tensors{renorm(x[0], 2, 1, 1.5), renorm(x[0], 1, 0, 2)};
                    },
                .twin =
                    [](Tensors const& x) {
                      auto const at_most = [&](int axis, double p, double most) {
                        Tensor const lines = x[0].transpose(axis, 0).contiguous();
                        Tensors parts;
                        for (int64_t i = 0; i < lines.size(0); ++i) {
                          double const size = norm_of(lines.select(0, i).to_vector<double>(), p);
                          parts.push_back(lines.select(0, i) * (size > most ? most / (size + 1e-7) : 1));
                        }
                        return parts.empty() ? x[0] : stack(parts).transpose(axis, 0);
                      };
                      return Tensors{at_most(1, 2, 1.5), at_most(0, 1, 2)};
                    }};
  shrunk.f32 = 1e-5;
  shrunk.bad = {{[] { renorm(ones({2}), 0, 0, 1); }, {"renorm", "got 0 and 1"}},
                {[] { renorm(ones({2}), 2, 1, 1); }, {"renorm", "got 1"}},
                {[] { renorm(arange(3), 2, 0, 1); }, {"renorm", "i64"}}};
  list().push_back(shrunk);
  reduction(
      "logsumexp axes",
      [](Tensor const& x) {
        return logsumexp(x, {0, 2});
      },
      {0, 2}, false,
      [](V v) {
        double s = 0;
        for (double x : v) s += std::exp(x);
        return std::log(s);
      },
      real(), {{{2, 3, 4}}, {{3, 1, 9}}});

  // order statistics
  reduction(
      "median", [](Tensor const& x) { return median(x); }, {0, 1}, false, middle, distinct(), some);
  list().back().bad = {{[] { median(zeros({0}, Dtype::i64)); }, {"median", "no element"}},
                       {[] { median(zeros({3}) == 0.0); }, {"median", "bool"}},
                       {[] {
                          median(zeros({3, 0}), 1);
                        },
                        {"median", "[3, 0]"}}};
  reduction("median last", [](Tensor const& x) { return median(x, -1).values; }, {-1}, false, middle, distinct(),
            {{{3, 5}}, {{2, 8}}, {{4, 300}}, {{1, 1}}});
  reduction("median first", [](Tensor const& x) { return median(x, 0, true).values; }, {0}, true, middle, distinct(),
            {{{3, 5}}, {{6, 3}}});
  reduction("nanmedian", [](Tensor const& x) { return nanmedian(spoilt(x), 1).values; }, {1}, false, middle, distinct(),
            {{{3, 5}}, {{2, 8}}, {{4, 9}}});
  list().back().twin = [](Tensors const& x) {
    return Tensors{fold(spoilt(x[0]), {1}, false, [](V v) { return middle(numbers_of(v)); })};
  };
  list().back().bad = {{[] { nanmedian(Tensor()); }, {"nanmedian", "undefined"}},
                       {[] { nanmedian(ones({3}), 1); }, {"nanmedian", "got 1"}}};
  reduction(
      "nanmedian all", [](Tensor const& x) { return nanmedian(x); }, {0, 1}, false, middle, distinct(), some);
  reduction("mode", [](Tensor const& x) { return mode(x).values; }, {-1}, false, smallest, distinct(),
            {{{3, 5}}, {{2, 8}}, {{4, 300}}});
  list().back().bad = {{[] { mode(zeros({3, 0})); }, {"mode", "no element"}}, {[] { mode(ones({3}), 1); }, {"mode"}}};
  int number = 0;
  for (QuantileInterpolation how :
       {QuantileInterpolation::linear, QuantileInterpolation::lower, QuantileInterpolation::higher,
        QuantileInterpolation::midpoint, QuantileInterpolation::nearest}) {
    QuantileOptions const options{.axis = 1, .keep = true, .interpolation = how};
    reduction(
        "quantile " + std::to_string(number++), [=](Tensor const& x) { return quantile(x, 0.3, options); }, {1}, true,
        [=](V v) { return quantile_of(v, double(0.3), how); }, distinct(), {{{3, 5}}, {{2, 8}}, {{1, 1}}});
  }
  OpCase several{.name = "quantile of several",
                 .covers = "quantile",
                 .inputs = {distinct(), real(0.05, 0.95, {0.2, 0.4, 0.6, 0.8})},
                 .shapes = {{{2, 3}, {3}}, {{6}, {2}}, {{3, 2}, {}}},
                 .op = [](Tensors const& x) { return Tensors{quantile(x[0], x[1])}; },
                 .twin =
                     [](Tensors const& x) {
                       std::vector<double> y;
                       for (double q : x[1].to_vector<double>())
                         y.push_back(quantile_of(x[0].to_vector<double>(), q, QuantileInterpolation::linear));
                       return Tensors{tensor(y, x[1].shape())};
                     }};
  several.bad = {{[] { quantile(ones({3}), 1.5); }, {"quantile", "[0, 1]", "1.5"}},
                 {[] { quantile(ones({3}), ones({1}, Dtype::f64)); }, {"quantile", "f32", "f64"}},
                 {[] { quantile(zeros({0}), 0.5); }, {"quantile", "no element"}},
                 {[] { quantile(arange(3), 0.5); }, {"quantile", "i64"}},
                 {[] { quantile(ones({3}), 0.5, {.axis = 1}); }, {"quantile", "got 1"}}};
  list().push_back(several);
  reduction("nanquantile", [](Tensor const& x) { return nanquantile(spoilt(x), 0.4, {.axis = 1}); }, {1}, false, middle,
            distinct(), {{{3, 5}}, {{2, 8}}});
  list().back().twin = [](Tensors const& x) {
    return Tensors{fold(spoilt(x[0]), {1}, false,
                        [](V v) { return quantile_of(numbers_of(v), 0.4, QuantileInterpolation::linear); })};
  };
  list().back().bad = {{[] { nanquantile(ones({3}), -1); }, {"nanquantile", "-1"}},
                       {[] { nanquantile(Tensor(), 0.5); }, {"nanquantile"}}};

  // covariances
  OpCase covariance{.name = "cov",
                    .covers = "cov",
                    .inputs = {real(), real(0.5, 2)},
                    .shapes = {{{3, 4}, {4}}, {{2, 9}, {9}}},
                    .op =
                        [](Tensors const& x) {
                          Tensor const often = arange(1, x[0].size(1) + 1).to(x[0].device());
                          return Tensors{cov(x[0]), cov(x[0], {.correction = 0, .fweights = often, .aweights = x[1]}),
                                         cov(x[0].select(0, 0), {.aweights = x[1]})};
                        },
                    .twin =
                        [](Tensors const& x) {
                          int64_t const rows = x[0].size(0), n = x[0].size(1);
                          auto const v = x[0].to_vector<double>(), a = x[1].to_vector<double>();
                          auto const at = [&](int64_t i, int64_t k) { return v[size_t(i * n + k)]; };
                          auto const element = [&](int64_t i, int64_t j, bool f, bool weighted, double correction) {
                            double w = 0, wa = 0, mi = 0, mj = 0, s = 0;
                            auto const weight = [&](int64_t k) {
                              return (f ? double(k + 1) : 1.0) * (weighted ? a[size_t(k)] : 1.0);
                            };
                            for (int64_t k = 0; k < n; ++k) {
                              w += weight(k);
                              wa += weight(k) * (weighted ? a[size_t(k)] : 1.0);
                              mi += weight(k) * at(i, k);
                              mj += weight(k) * at(j, k);
                            }
                            for (int64_t k = 0; k < n; ++k) s += weight(k) * (at(i, k) - mi / w) * (at(j, k) - mj / w);
                            return s / (w - correction * (weighted ? wa / w : 1.0));
                          };
                          std::vector<double> plain, weighted;
                          for (int64_t i = 0; i < rows; ++i)
                            for (int64_t j = 0; j < rows; ++j) {
                              plain.push_back(element(i, j, false, false, 1));
                              weighted.push_back(element(i, j, true, true, 0));
                            }
                          return Tensors{tensor(plain, {rows, rows}), tensor(weighted, {rows, rows}),
                                         scalar(element(0, 0, false, true, 1), Dtype::f64)};
                        }};
  covariance.f32 = 1e-5;
  covariance.gradient_f32 = 1e-4;
  covariance.bad = {{[] {
                       cov(ones({2, 3, 4}));
                     },
                     {"cov", "[2, 3, 4]"}},
                    {[] {
                       cov(ones({2, 3}), {.aweights = ones({2})});
                     },
                     {"cov", "[2]", "3 observations"}},
                    {[] {
                       cov(ones({2, 3}), {.fweights = ones({3})});
                     },
                     {"cov", "f32"}}};
  list().push_back(covariance);
  OpCase correlation{.name = "corrcoef",
                     .covers = "corrcoef",
                     .inputs = {real()},
                     .shapes = {{{3, 4}}, {{2, 9}}},
                     .op =
                         [](Tensors const& x) {
                           // On the diagonal 1 is cut to 1, a kink of clamp.
                           Tensor const c = corrcoef(x[0]);
                           return Tensors{c.slice(0, 1, c.size(0)).slice(1, 0, 1)};
                         },
                     .twin =
                         [](Tensors const& x) {
                           auto const v = x[0].to_vector<double>();
                           int64_t const n = x[0].size(1);
                           std::vector<double> y;
                           auto const row = [&](int64_t i) {
                             return std::vector<double>(v.begin() + i * n, v.begin() + (i + 1) * n);
                           };
                           for (int64_t i = 1; i < x[0].size(0); ++i) {
                             auto const a = row(0), b = row(i);
                             double s = 0;
                             for (size_t k = 0; k < a.size(); ++k) s += (a[k] - average(a)) * (b[k] - average(b));
                             y.push_back(s / double(n) / std::sqrt(spread(a, 0) * spread(b, 0)));
                           }
                           return Tensors{tensor(y, {x[0].size(0) - 1, 1})};
                         }};
  correlation.f32 = 1e-5;
  correlation.gradient_f32 = 1e-4;
  correlation.bad = {{[] {
                        corrcoef(ones({2, 3, 4}));
                      },
                      {"corrcoef", "[2, 3, 4]"}},
                     {[] { corrcoef(Tensor()); }, {"corrcoef"}}};
  list().push_back(correlation);
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    reduction_cases();
    more_cases();
    return OpSuite{.sections = {"reductions"},
                   .cases = list(),
                   .not_differentiable = {"argmax", "argmin", "any", "all", "count_nonzero"}};
  }();
  return all;
}

template <class T>
Tensor of(std::vector<double> const& values) {
  return tensor(values, {int64_t(values.size())}).to(dtype_of<T>);
}

Tensor gradient_of(Tensor (*f)(Tensor const&), std::vector<double> const& values) {
  Tensor x = of<double>(values);
  x.requires_grad_();
  return grad({f(x)}, {x})[0];
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("integers and bools: sums and products are i64, extremes keep the type") {
  for (Tensor const& x :
       {of<int8_t>({3, -1, 2}), of<int16_t>({3, -1, 2}), of<int32_t>({3, -1, 2}), of<int64_t>({3, -1, 2})}) {
    CHECK(sum(x).item<int64_t>() == 4);
    CHECK(prod(x).dtype() == Dtype::i64);
    CHECK(prod(x).item<int64_t>() == -6);
    CHECK(amax(x, {0}).dtype() == x.dtype());
    CHECK(max(x).item<int64_t>() == 3);
    CHECK(min(x, 0).indices.item<int64_t>() == 1);
    CHECK(argmin(x).item<int64_t>() == 1);
    CHECK(median(x).item<int64_t>() == 2);
    CHECK(median(x).dtype() == x.dtype());
    CHECK(mode(x).values.item<int64_t>() == -1);
    CHECK(count_nonzero(x).item<int64_t>() == 3);
    CHECK(logsumexp(x, 0).dtype() == Dtype::f32);
    CHECK(nansum(x).item<int64_t>() == 4);
    CHECK(sum(x, {0}, false, Dtype::f64).dtype() == Dtype::f64);
    CHECK(mean(x, {0}, false, Dtype::f64).item() == doctest::Approx(4.0 / 3));
  }
  Tensor const flags = of<bool>({1, 0, 1});
  CHECK(sum(flags).item<int64_t>() == 2);
  CHECK(prod(flags).item<int64_t>() == 0);
  CHECK(max(flags, 0).values.dtype() == Dtype::boolean);
  CHECK(max(flags, 0).indices.item<int64_t>() == 0);
  CHECK(any(of<uint8_t>({0, 7})).dtype() == Dtype::u8);
  CHECK(any(of<uint8_t>({0, 7})).item<int>() == 1);
  CHECK(sum(of<float>({1.5, 2.5}), {0}, false, Dtype::i64).item<int64_t>() == 3);
  // Long rows are split.
  CHECK(sum(ones({200001}, Dtype::i32)).item<int64_t>() == 200001);
  CHECK(any(zeros({200001}, Dtype::u8)).item<int>() == 0);
  CHECK(max(arange(200001)).item<int64_t>() == 200000);
}

TEST_CASE("16-bit types: computed in f32, rounded once") {
  for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
    Tensor wide = tensor({{1, 2.5, -3}, {0.5, 4, 2}});
    Tensor x = wide.to(dtype);
    x.requires_grad_();
    wide.requires_grad_();
    auto const results = [](Tensor const& t) {
      return std::vector<Tensor>{sum(t),
                                 mean(t, {0}),
                                 prod(t),
                                 prod(t, 1),
                                 nansum(t),
                                 nanmean(t),
                                 amax(t, {1}),
                                 max(t),
                                 min(t, 0).values,
                                 aminmax(t, 1).max,
                                 var(t),
                                 heed::std(t, {1}),
                                 std_mean(t, {1}).second,
                                 var_mean(t, {1}).first,
                                 norm(t),
                                 norm(t, 3, {1}),
                                 dist(t, t * 0.5),
                                 logsumexp(t, {0, 1}),
                                 median(t),
                                 median(t, 1).values,
                                 nanmedian(t, 0).values,
                                 mode(t).values,
                                 cov(t),
                                 corrcoef(t)};
    };
    auto const got = results(x), want = results(wide);
    for (size_t i = 0; i < got.size(); ++i) {
      INFO(std::string(name(dtype)), " ", i);
      CHECK(got[i].dtype() == dtype);
      CHECK(differs(got[i].to(Dtype::f64), want[i].to(Dtype::f64), dtype == Dtype::f16 ? 2e-3 : 2e-2) == "");
      Tensor const g = grad({sum(got[i])}, {x})[0];
      CHECK(g.dtype() == dtype);
      CHECK(differs(g.to(Dtype::f64), grad({sum(want[i])}, {wide})[0].to(Dtype::f64),
                    dtype == Dtype::f16 ? 2e-2 : 2e-1) == "");
    }
    CHECK(argmax(x).item<int64_t>() == 4);
    CHECK(argmin(x, 1).to_vector<int>() == std::vector<int>{2, 0});
    CHECK(any(x).item<bool>());
    CHECK(count_nonzero(x).item<int64_t>() == 6);
    CHECK(sum(x, {0}, false, Dtype::f32).dtype() == Dtype::f32);
  }
  CHECK(error_of([] { quantile(ones({2}, Dtype::f16), 0.5); }).find("f16") != std::string::npos);
}

TEST_CASE("NaN: it wins, unless it is passed over") {
  Tensor const x = of<double>({1, nan_, 3, nan_});
  for (Tensor const& y : {sum(x), max(x), min(x), median(x), amax(x, {0}), var(x), norm(x), quantile(x, 0.5)})
    CHECK(std::isnan(y.item()));
  CHECK(max(x, 0).indices.item<int64_t>() == 1);
  CHECK(argmin(x).item<int64_t>() == 1);
  CHECK(median(x, 0).indices.item<int64_t>() == 1);
  CHECK(nansum(x).item() == 4);
  CHECK(nanmean(x).item() == 2);
  CHECK(nanmedian(x).item() == 1);
  CHECK(nanmedian(x, 0).indices.item<int64_t>() == 0);
  CHECK(nanquantile(x, 0.25).item() == 1.5);
  CHECK(std::isnan(nanquantile(of<double>({nan_, nan_}), 0.25).item()));
  CHECK(std::isnan(nanmedian(of<double>({nan_, nan_})).item()));
  CHECK(any(of<float>({nan_})).item<bool>());
  CHECK(count_nonzero(x).item<int64_t>() == 4);
  CHECK(vector_norm(of<double>({nan_, 0}), 0).item() == 1);
}

TEST_CASE("what one element, none, or a tensor of rank 0 gives") {
  CHECK(std::isnan(var(ones({1})).item()));
  CHECK(std::isnan(heed::std(ones({1})).item()));
  CHECK(var(tensor({1, 3}), {0}, 5).item() == inf);
  CHECK(std::isnan(mean(zeros({0})).item()));
  CHECK(std::isnan(median(zeros({0})).item()));
  CHECK(prod(zeros({0})).item() == 1);
  CHECK(norm(zeros({0})).item() == 0);
  CHECK(all(zeros({0})).item<bool>());
  CHECK(std::isnan(nanmean(zeros({0})).item()));
  CHECK(std::isnan(cov(scalar(3)).item()));
  Tensor x = scalar(3, Dtype::f64);
  x.requires_grad_();
  std::vector<Tensor> const results = {sum(x, {0}, true),
                                       mean(x, {-1}),
                                       prod(x, 0),
                                       prod(x),
                                       amax(x, {0}),
                                       max(x, 0).values,
                                       logsumexp(x, {-1}),
                                       median(x, 0).values,
                                       mode(x).values,
                                       vector_norm(x, 2, {0}),
                                       nansum(x, {0}),
                                       quantile(x, 0.5),
                                       median(x, -1, true).values};
  for (Tensor const& y : results) {
    CHECK(y.rank() == 0);
    CHECK(y.item() == doctest::Approx(3));
    CHECK(grad({y}, {x}, {}, {.retain_graph = true})[0].item() == doctest::Approx(1));
  }
  CHECK(argmax(x, 0).item<int64_t>() == 0);
  CHECK(error_of([&] { sum(x, {1}); }).find("got 1") != std::string::npos);
}

TEST_CASE("gradients at ties and at zero are PyTorch's") {
  CHECK(gradient_of(max, {1, 3, 3}).to_vector<double>() == std::vector<double>{0, 0.5, 0.5});
  CHECK(gradient_of(median, {1, 1, 2, 1}).to_vector<double>()[2] == 0);
  CHECK(gradient_of(median, {1, 1, 2, 1}).to_vector<double>()[0] == doctest::Approx(1.0 / 3));
  CHECK(gradient_of([](Tensor const& x) { return max(x, 0).values; }, {1, 3, 3}).to_vector<double>() ==
        std::vector<double>{0, 1, 0});
  for (auto f : {+[](Tensor const& x) { return norm(x); }, +[](Tensor const& x) { return norm(x, 3); },
                 +[](Tensor const& x) { return norm(x, 0.5); }, +[](Tensor const& x) { return norm(x, 1.5); },
                 +[](Tensor const& x) { return norm(x, 1); }, +[](Tensor const& x) { return norm(x, inf); },
                 +[](Tensor const& x) { return norm(x, 0); }, +[](Tensor const& x) { return heed::std(x); }})
    CHECK(gradient_of(f, {0, 0, 0}).to_vector<double>() == std::vector<double>{0, 0, 0});
  CHECK(gradient_of([](Tensor const& x) { return norm(x, -1); }, {0, 1}).to_vector<double>() ==
        std::vector<double>{0, 0});
  CHECK(gradient_of([](Tensor const& x) { return norm(x, 0.5); }, {0, 1}).to_vector<double>() ==
        std::vector<double>{0, 1});
}

TEST_CASE("mode: the smallest of the most frequent, and its last place") {
  auto const [values, indices] = mode(of<double>({2, 1, 2, 3, 1, 0}));
  CHECK(values.item() == 1);
  CHECK(indices.item<int64_t>() == 4);
  CHECK(mode(of<double>({nan_, nan_, 1})).values.item() == 1);
}
