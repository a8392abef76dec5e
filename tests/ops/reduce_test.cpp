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

/// Where the makers below put their records.
std::vector<OpCase>& list() {
  static std::vector<OpCase> records;
  return records;
}

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

OpSuite const& suite() {
  static OpSuite const all = [] {
    list().reserve(400);  // the makers above hand out references
    reduction_cases();
    return OpSuite{.sections = {"reductions"}, .cases = list(), .not_differentiable = {"argmax", "argmin"}};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)
