// Scans, sorting, searching.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

using Line = std::vector<double>;

/// f(line) in place of every line of x along `axis`.
Tensor lines(Tensor const& x, int axis, std::function<Line(Line const&)> const& f) {
  axis = axis < 0 ? axis + x.rank() : axis;
  Tensor const last = x.detach().transpose(axis, -1).contiguous();
  Shape shape = last.shape();
  int64_t const n = shape.back();
  auto const values = last.to_vector<double>();
  Line y;
  for (size_t at = 0; n > 0 && at < values.size(); at += size_t(n)) {
    Line const line = f(Line(values.begin() + int64_t(at), values.begin() + int64_t(at) + n));
    shape[shape.rank() - 1] = int64_t(line.size());
    y.insert(y.end(), line.begin(), line.end());
  }
  return tensor(y, shape).transpose(axis, -1);
}

Line scanned(Line const& v, std::function<double(double, double)> const& f) {
  Line y;
  for (double x : v) y.push_back(y.empty() ? x : f(y.back(), x));
  return y;
}

/// Places of the elements in ascending or descending order, equals in theirs.
Line order_of(Line const& v, bool descending) {
  Line at(v.size());
  std::iota(at.begin(), at.end(), 0);
  std::stable_sort(at.begin(), at.end(), [&](double i, double j) {
    return descending ? v[size_t(i)] > v[size_t(j)] : v[size_t(i)] < v[size_t(j)];
  });
  return at;
}
Line taken(Line const& v, Line const& at) {
  Line y;
  for (double i : at) y.push_back(v[size_t(i)]);
  return y;
}
Line head(Line v, size_t k) {
  v.resize(k);
  return v;
}

Tensor row(Line const& values, Dtype dtype = Dtype::f64) { return tensor(values, {int64_t(values.size())}).to(dtype); }

std::vector<BadCall> bad_axis(std::string const& name, std::function<void(Tensor const&, int)> const& f) {
  return {{[f] { f(Tensor(), 0); }, {name, "undefined"}},
          {[f] {
             f(ones({2, 3}), 2);
           },
           {name, "expected an axis from -2 to 1", "got 2"}},
          {[f] { f(ones({2}), -2); }, {name, "got -2"}}};
}

OpCase scan(std::string const& name, Tensor (*f)(Tensor const&, int), std::function<Line(Line const&)> const& formula,
            Input in) {
  OpCase c{.name = name,
           .covers = name,
           .inputs = {std::move(in)},
           .shapes = {{{3, 5}}, {{2, 3, 4}}, {{70, 3}}, {{1, 1}}, {{0, 4}}, {{4, 0}}, {{2, 66, 2}}},
           .op =
               [=](Tensors const& x) {
                 return Tensors{f(x[0], 0), f(x[0], -1)};
               },
           .twin =
               [=](Tensors const& x) {
                 return Tensors{lines(x[0], 0, formula), lines(x[0], -1, formula)};
               }};
  c.large = {{40, 3000}};
  c.bad = bad_axis(name, [f](Tensor const& x, int axis) { f(x, axis); });
  return c;
}

/// x with zeros in every third place.
Tensor pierced(Tensor const& x) {
  Line hole;
  for (int64_t i = 0; i < x.numel(); ++i) hole.push_back(i % 3 != 1);
  return x * tensor(hole, x.shape()).to(x.dtype()).to(x.device());
}

std::vector<OpCase> scans() {
  std::vector<OpCase> list;
  auto const sums = [](Line const& v) { return scanned(v, [](double a, double b) { return a + b; }); };
  auto const products = [](Line const& v) { return scanned(v, [](double a, double b) { return a * b; }); };
  auto const logs = [](Line const& v) {
    return scanned(v, [](double a, double b) { return std::log(std::exp(a) + std::exp(b)); });
  };
  list.push_back(scan(
      "cumsum", [](Tensor const& x, int a) { return cumsum(x, a); }, sums, real()));
  list.back().f32 = 1e-5;
  list.push_back(scan(
      "cumprod", [](Tensor const& x, int a) { return cumprod(x, a); }, products, real(-1.4, 1.4)));
  list.back().f32 = 1e-5;
  list.push_back(scan("logcumsumexp", logcumsumexp, logs, real()));
  list.push_back(list[1]);
  list.back().name = "cumprod through zeros";
  list.back().shapes = {{{3, 5}}, {{2, 3, 4}}};
  list.back().op = [](Tensors const& x) { return Tensors{cumprod(pierced(x[0]), -1)}; };
  list.back().twin = [=](Tensors const& x) { return Tensors{lines(pierced(x[0]), -1, products)}; };
  for (bool largest : {true, false}) {
    auto const f = largest ? cummax : cummin;
    auto const places = [=](Line const& v) {
      Line at;
      for (size_t i = 0; i < v.size(); ++i) {
        bool const better = at.empty() || (largest ? v[i] >= v[size_t(at.back())] : v[i] <= v[size_t(at.back())]);
        at.push_back(better ? double(i) : at.back());
      }
      return at;
    };
    OpCase c = list[0];
    c.name = c.covers = largest ? "cummax" : "cummin";
    c.inputs = {distinct()};
    c.op = [=](Tensors const& x) {
      auto const [values, indices] = f(x[0], 0);
      return Tensors{values, indices, f(x[0], -1).values};
    };
    c.twin = [=](Tensors const& x) {
      auto const values = [=](Line const& v) { return taken(v, places(v)); };
      return Tensors{lines(x[0], 0, values), lines(x[0], 0, places).to(Dtype::i64), lines(x[0], -1, values)};
    };
    c.bad = bad_axis(c.name, [f](Tensor const& x, int axis) { f(x, axis); });
    list.push_back(c);
  }

  auto const differences = [](Line const& v) {
    Line y;
    for (size_t i = 1; i < v.size(); ++i) y.push_back(v[i] - v[i - 1]);
    return y;
  };
  OpCase steps{.name = "diff",
               .covers = "diff",
               .inputs = {real(), real()},
               .shapes = {{{3, 5}, {3, 2}}, {{2, 3}, {2, 1}}},
               .op =
                   [](Tensors const& x) {
                     return Tensors{diff(x[0]), diff(x[0], 2, 0), diff(x[0], 1, -1, x[1], x[1]), diff(x[0], 0)};
                   },
               .twin =
                   [=](Tensors const& x) {
                     auto const twice = [=](Line const& v) { return differences(differences(v)); };
                     Tensor second = lines(x[0], 0, twice);
                     if (x[0].size(0) < 3) second = zeros({0, x[0].size(1)}, Dtype::f64);
                     return Tensors{lines(x[0], 1, differences), second,
                                    lines(cat({x[1], x[0], x[1]}, 1), 1, differences), x[0]};
                   }};
  steps.bad = bad_axis("diff", [](Tensor const& x, int axis) { diff(x, 1, axis); });
  steps.bad.push_back({[] { diff(ones({3}), -1); }, {"diff", "got -1"}});
  steps.bad.push_back({[] { diff(scalar(3)); }, {"diff"}});
  list.push_back(steps);
  for (bool partial : {false, true}) {
    using Spaced = Tensor (*)(Tensor const&, double, int);
    using At = Tensor (*)(Tensor const&, Tensor const&, int);
    Spaced const spaced = partial ? Spaced(cumulative_trapezoid) : Spaced(trapezoid);
    At const at = partial ? At(cumulative_trapezoid) : At(trapezoid);
    std::string const name = partial ? "cumulative_trapezoid" : "trapezoid";
    OpCase c{.name = name,
             .covers = name,
             .inputs = {real(), real(), real()},
             .shapes = {{{3, 5}, {5}, {3, 5}}, {{2, 3}, {3}, {1, 3}}},
             .op =
                 [=](Tensors const& x) {
                   return Tensors{spaced(x[0], 1, -1), spaced(x[0], 2.5, 0), at(x[0], x[1], 1), at(x[0], x[2], -1)};
                 },
             .twin =
                 [=](Tensors const& x) {
                   auto const area = [=](Tensor const& y, Tensor const& points, int axis) {
                     // y and points side by side along the axis, so that one line holds both.
                     Tensor const z = lines(cat({y, points.expand(y.shape())}, axis), axis, [=](Line const& v) {
                       size_t const n = v.size() / 2;
                       Line sums;
                       double s = 0;
                       for (size_t i = 1; i < n; ++i)
                         sums.push_back(s += (v[n + i] - v[n + i - 1]) * (v[i] + v[i - 1]) / 2);
                       return partial ? sums : Line{s};
                     });
                     return partial ? z : z.squeeze(axis);
                   };
                   auto const even = [](Tensor const& y, double dx, int axis) {
                     Tensor const points = arange(y.size(axis)).to(Dtype::f64) * dx;
                     return axis == 0 ? points.unsqueeze(1).expand(y.shape()) : points.expand(y.shape());
                   };
                   return Tensors{area(x[0], even(x[0], 1, 1), 1), area(x[0], even(x[0], 2.5, 0), 0),
                                  area(x[0], x[1], 1), area(x[0], x[2], 1)};
                 }};
    c.f32 = 1e-5;
    c.bad = bad_axis(name, [=](Tensor const& x, int axis) { spaced(x, 1, axis); });
    c.bad.push_back({[=] { at(ones({2, 3}), ones({2}), 1); }, {name, "2 points", "[2, 3]"}});
    c.bad.push_back({[=] { at(ones({2, 3, 4}), ones({3, 4}), 0); }, {name, "[3, 4]", "[2, 3, 4]"}});
    list.push_back(c);
  }
  OpCase slopes{.name = "gradient",
                .covers = "gradient",
                .inputs = {real(), real(), real()},
                .shapes = {{{4, 5}, {4}, {5}}, {{3, 3}, {3}, {3}}},
                .op =
                    [](Tensors const& x) {
                      Tensor const rows = x[1] * 0.1 + arange(x[1].size(0), x[1].device()).to(x[1].dtype());
                      Tensor const columns = x[2] * 0.1 + arange(x[2].size(0), x[2].device()).to(x[2].dtype());
                      Tensors y = gradient(x[0], 0.5);
                      for (Tensor const& more : gradient(x[0], {rows, columns}, {.edge_order = 2})) y.push_back(more);
                      y.push_back(gradient(x[0], {columns}, {.axes = Dims{-1}})[0]);
                      return y;
                    },
                .twin =
                    [](Tensors const& x) {
                      // The slope at each point of the parabola through three neighbours.
                      auto const along = [](Tensor const& y, Tensor const& points, int axis, bool parabola) {
                        Line const at = points.to_vector<double>();
                        return lines(y, axis, [=](Line const& v) {
                          Line d;
                          size_t const n = v.size();
                          for (size_t i = 0; i < n; ++i) {
                            size_t const m = std::min(std::max(i, size_t{1}), n - 2);
                            double const p = at[m - 1], q = at[m], r = at[m + 1], t = at[i];
                            bool const edge = i == 0 || i == n - 1;
                            if (edge && !parabola) {
                              size_t const j = i ? n - 1 : 1;
                              d.push_back((v[j] - v[j - 1]) / (at[j] - at[j - 1]));
                              continue;
                            }
                            d.push_back(v[m - 1] * (2 * t - q - r) / ((p - q) * (p - r)) +
                                        v[m] * (2 * t - p - r) / ((q - p) * (q - r)) +
                                        v[m + 1] * (2 * t - p - q) / ((r - p) * (r - q)));
                          }
                          return d;
                        });
                      };
                      Tensor const i = arange(x[1].size(0)).to(Dtype::f64), j = arange(x[2].size(0)).to(Dtype::f64);
                      Tensor const rows = x[1] * 0.1 + i, columns = x[2] * 0.1 + j;
                      return Tensors{along(x[0], i * 0.5, 0, false), along(x[0], j * 0.5, 1, false),
                                     along(x[0], rows, 0, true), along(x[0], columns, 1, true),
                                     along(x[0], columns, 1, false)};
                    }};
  slopes.f32 = 2e-5, slopes.f64 = 1e-12, slopes.gradient_f32 = 2e-4;
  slopes.bad = {{[] {
                   gradient(ones({3, 1}));
                 },
                 {"gradient", "2 elements", "[3, 1]"}},
                {[] { gradient(ones({3}), 1, {.edge_order = 3}); }, {"gradient", "got 3"}},
                {[] {
                   gradient(ones({3, 3}), std::vector{arange(3)});
                 },
                 {"gradient", "1 lists", "2 axes"}},
                {[] { gradient(ones({3}), std::vector{arange(4)}); }, {"gradient", "4 points"}},
                {[] { gradient(Tensor()); }, {"gradient", "undefined"}}};
  list.push_back(slopes);
  return list;
}

std::vector<OpCase> orders() {
  std::vector<OpCase> list;
  OpCase sorted{.name = "sort",
                .covers = "sort",
                .inputs = {distinct()},
                .shapes = {{{3, 5}}, {{2, 3, 4}}, {{1, 1}}, {{3, 700}}, {{0, 4}}, {{4, 0}}},
                .op =
                    [](Tensors const& x) {
                      auto const [values, indices] = sort(x[0]);
                      auto const [down, places] = sort(x[0], 0, true);
                      return Tensors{values, indices, down, places};
                    },
                .twin =
                    [](Tensors const& x) {
                      auto const up = [](Line const& v) { return order_of(v, false); };
                      auto const down = [](Line const& v) { return order_of(v, true); };
                      auto const by = [](auto f) { return [f](Line const& v) { return taken(v, f(v)); }; };
                      return Tensors{lines(x[0], -1, by(up)), lines(x[0], -1, up).to(Dtype::i64),
                                     lines(x[0], 0, by(down)), lines(x[0], 0, down).to(Dtype::i64)};
                    }};
  sorted.large = {{50, 3000}};
  sorted.bad = bad_axis("argsort", [](Tensor const& x, int axis) { sort(x, axis); });
  list.push_back(sorted);
  OpCase places = sorted;
  places.name = places.covers = "argsort";
  places.differentiable = false;
  places.inputs = {bits()};  // many equals: the order is stable
  places.op = [](Tensors const& x) { return Tensors{argsort(x[0]), argsort(x[0], 0, true)}; };
  places.twin = [twin = sorted.twin](Tensors const& x) {
    auto const all = twin(x);
    return Tensors{all[1], all[3]};
  };
  places.bad = bad_axis("argsort", [](Tensor const& x, int axis) { argsort(x, axis); });
  list.push_back(places);
  OpCase rows = sorted;
  rows.name = rows.covers = "msort";
  rows.large = {};
  rows.op = [](Tensors const& x) { return Tensors{msort(x[0])}; };
  rows.twin = [](Tensors const& x) {
    return Tensors{lines(x[0], 0, [](Line const& v) { return taken(v, order_of(v, false)); })};
  };
  rows.bad = {{[] { msort(Tensor()); }, {"undefined"}}};
  list.push_back(rows);

  OpCase top{.name = "topk",
             .covers = "topk",
             .inputs = {distinct()},
             .shapes = {{{3, 5}}, {{2, 4, 3}}, {{3, 700}}, {{3, 3}}},
             .op =
                 [](Tensors const& x) {
                   auto const [values, indices] = topk(x[0], 3);
                   auto const [low, at] = topk(x[0], 2, 0, false);
                   // Unsorted ones in any order: their sum.
                   return Tensors{values, indices, low, at, sum(topk(x[0], 2, -1, true, false).values, {-1})};
                 },
             .twin =
                 [](Tensors const& x) {
                   auto const most = [](Line const& v) { return head(order_of(v, true), 3); };
                   auto const least = [](Line const& v) { return head(order_of(v, false), 2); };
                   auto const two = [](Line const& v) { return taken(v, head(order_of(v, true), 2)); };
                   auto const by = [](auto f) { return [f](Line const& v) { return taken(v, f(v)); }; };
                   return Tensors{lines(x[0], -1, by(most)), lines(x[0], -1, most).to(Dtype::i64),
                                  lines(x[0], 0, by(least)), lines(x[0], 0, least).to(Dtype::i64),
                                  sum(lines(x[0], -1, two), {-1})};
                 }};
  top.bad = bad_axis("topk", [](Tensor const& x, int axis) { topk(x, 1, axis); });
  top.bad.push_back({[] { topk(ones({3}), 4); }, {"topk", "from 0 to 3", "got 4"}});
  top.bad.push_back({[] { topk(ones({3}), -1); }, {"topk", "got -1"}});
  top.bad.push_back({[] { topk(ones({3}) == 1.0, 1); }, {"topk", "bool"}});
  list.push_back(top);
  OpCase kth{.name = "kthvalue",
             .covers = "kthvalue",
             .inputs = {distinct()},
             .shapes = {{{3, 5}}, {{2, 4, 3}}, {{2, 300}}},
             .op =
                 [](Tensors const& x) {
                   auto const [values, indices] = kthvalue(x[0], 2);
                   return Tensors{values, indices, kthvalue(x[0], 1, 0, true).values};
                 },
             .twin =
                 [](Tensors const& x) {
                   auto const at = [](Line const& v) { return Line{order_of(v, false)[1]}; };
                   return Tensors{lines(x[0], -1, [=](Line const& v) { return taken(v, at(v)); }).squeeze(-1),
                                  lines(x[0], -1, at).squeeze(-1).to(Dtype::i64), lines(x[0], 0, [](Line const& v) {
                                    return Line{*std::min_element(v.begin(), v.end())};
                                  })};
                 }};
  kth.bad = bad_axis("kthvalue", [](Tensor const& x, int axis) { kthvalue(x, 1, axis); });
  kth.bad.push_back({[] { kthvalue(ones({3}), 0); }, {"kthvalue", "from 1 to 3", "got 0"}});
  kth.bad.push_back({[] { kthvalue(zeros({3, 0}), 1); }, {"kthvalue", "from 1 to 0"}});
  list.push_back(kth);
  return list;
}

std::vector<OpCase> searches() {
  std::vector<OpCase> list;
  auto const rank = [](Line const& line, double v, bool right) {
    double n = 0;
    for (double x : line) n += right ? x <= v : x < v;
    return n;
  };
  auto const ascending = [](Tensor const& x) { return sort(x).values; };
  OpCase places{.name = "searchsorted",
                .covers = "searchsorted",
                .inputs = {real(), real()},
                .shapes = {{{5}, {2, 3}}, {{1}, {4}}, {{300}, {7}}, {{0}, {4}}, {{5}, {}}},
                .op =
                    [=](Tensors const& x) {
                      Tensor const line = ascending(x[0]);
                      return Tensors{searchsorted(line, x[1]), searchsorted(line, x[1], {.right = true}),
                                     searchsorted(x[0], x[1], {.sorter = argsort(x[0])}), searchsorted(line, 0.25)};
                    },
                .twin =
                    [=](Tensors const& x) {
                      Line const line = x[0].to_vector<double>();
                      Line left, right;
                      for (double v : x[1].to_vector<double>()) {
                        left.push_back(rank(line, v, false));
                        right.push_back(rank(line, v, true));
                      }
                      Tensor const a = tensor(left, x[1].shape()).to(Dtype::i64);
                      return Tensors{a, tensor(right, x[1].shape()).to(Dtype::i64), a,
                                     scalar(rank(line, 0.25, false), Dtype::i64)};
                    }};
  places.differentiable = false;
  places.bad = {{[] { searchsorted(scalar(1), ones({2})); }, {"searchsorted", "rank 0"}},
                {[] {
                   searchsorted(ones({2, 3}), ones({3, 3}));
                 },
                 {"searchsorted", "[2, 3]", "[3, 3]"}},
                {[] { searchsorted(ones({3}), ones({3}), {.sorter = arange(2)}); }, {"searchsorted", "i64 [3]", "[2]"}},
                {[] { searchsorted(ones({3}), ones({3}), {.sorter = arange(1, 4)}); }, {"searchsorted", "place 3"}},
                {[] { searchsorted(ones({3}), Tensor()); }, {"searchsorted", "undefined"}}};
  list.push_back(places);
  OpCase per_row{.name = "searchsorted rows",
                 .covers = "searchsorted",
                 .inputs = {real(), real()},
                 .shapes = {{{2, 5}, {2, 3}}, {{3, 2, 4}, {3, 2, 1}}},
                 .op = [=](Tensors const& x) { return Tensors{searchsorted(ascending(x[0]), x[1])}; },
                 .twin =
                     [=](Tensors const& x) {
                       return Tensors{lines(cat({x[0], x[1]}, -1), -1, [=, n = x[0].shape().back()](Line const& v) {
                                        Line const line(v.begin(), v.begin() + n);
                                        Line y;
                                        for (auto i = v.begin() + n; i != v.end(); ++i)
                                          y.push_back(rank(line, *i, false));
                                        return y;
                                      }).to(Dtype::i64)};
                     }};
  per_row.differentiable = false;
  list.push_back(per_row);
  OpCase buckets = places;
  buckets.name = buckets.covers = "bucketize";
  buckets.op = [=](Tensors const& x) {
    return Tensors{bucketize(x[1], ascending(x[0])), bucketize(x[1], ascending(x[0]), true)};
  };
  buckets.twin = [twin = places.twin](Tensors const& x) {
    auto const all = twin(x);
    return Tensors{all[0], all[1]};
  };
  buckets.bad = {{[] {
                    bucketize(ones({2}), ones({2, 3}));
                  },
                  {"bucketize", "[2, 3]"}},
                 {[] { bucketize(ones({2}), Tensor()); }, {"bucketize", "undefined"}}};
  list.push_back(buckets);

  OpCase counts{.name = "bincount",
                .covers = "bincount",
                .inputs = {index(6), real()},
                .shapes = {{{9}, {9}}, {{1}, {1}}, {{0}, {0}}},
                .op =
                    [](Tensors const& x) {
                      Tensor const w = x[1].detach();
                      return Tensors{bincount(x[0]), bincount(x[0], {}, 9), bincount(x[0], w, 6)};
                    },
                .twin =
                    [](Tensors const& x) {
                      auto const v = x[0].to_vector<double>(), w = x[1].to_vector<double>();
                      size_t const n = v.empty() ? 0 : size_t(*std::max_element(v.begin(), v.end())) + 1;
                      Line count(9), weight(6);
                      for (size_t i = 0; i < v.size(); ++i) ++count[size_t(v[i])], weight[size_t(v[i])] += w[i];
                      return Tensors{row(head(count, n), Dtype::i64), row(count, Dtype::i64), row(weight)};
                    }};
  counts.differentiable = false;
  counts.bad = {{[] { bincount(ones({3})); }, {"bincount", "f32"}},
                {[] { bincount(arange(-1, 2)); }, {"bincount", "got -1"}},
                {[] { bincount(arange(3), ones({2})); }, {"bincount", "[2]", "[3]"}},
                {[] { bincount(arange(3), {}, -1); }, {"bincount", "got -1"}},
                {[] { bincount(arange(3), ones({3}).requires_grad_()); }, {"bincount"}}};
  list.push_back(counts);
  OpCase equal_parts{.name = "histc",
                     .covers = "histc",
                     .inputs = {real()},
                     .shapes = {{{7}}, {{3, 5}}, {{1}}},
                     .op = [](Tensors const& x) { return Tensors{histc(x[0].detach(), 4, -1, 1)}; },
                     .twin =
                         [](Tensors const& x) {
                           Line y(4);
                           for (double v : x[0].to_vector<double>())
                             if (v >= -1 && v <= 1) ++y[size_t(std::min(std::floor((v + 1) * 2), 3.0))];
                           return Tensors{row(y)};
                         }};
  equal_parts.differentiable = false;
  equal_parts.bad = {{[] { histc(ones({2}), 0); }, {"histc", "got 0"}},
                     {[] { histc(ones({2}), 3, 2, 1); }, {"histc", "2 to 1"}},
                     {[] {
                        histc(tensor({1, float(inf)}), 3);
                      },
                      {"histc", "inf"}},
                     {[] { histc(arange(3), 3); }, {"histc", "i64"}},
                     {[] { histc(ones({2}).requires_grad_(), 3); }, {"histc"}}};
  list.push_back(equal_parts);
  auto const bin_of = [](double v, Line const& edges) {
    size_t const n = edges.size() - 1;
    for (size_t i = 0; i < n; ++i)
      if (v >= edges[i] && (v < edges[i + 1] || (i == n - 1 && v == edges[n]))) return int(i);
    return -1;
  };
  OpCase bins{.name = "histogram",
              .covers = "histogram",
              .inputs = {real(), real()},
              .shapes = {{{3, 5}, {3, 5}}, {{7}, {7}}, {{1}, {1}}},
              .op =
                  [](Tensors const& x) {
                    Tensor const v = x[0].detach(), w = x[1].detach();
                    Tensor const edges = tensor({-1.5f, -1, 0.25f, 2}).to(v.dtype()).to(v.device());
                    auto const [even, ends] = histogram(v, 4, {.range = {-1, 1}});
                    return Tensors{even, ends, histogram(v, edges, {.weight = w}).first,
                                   histogram(v, edges, {.density = true}).first * sum(histogram(v, edges).first)};
                  },
              .twin =
                  [=](Tensors const& x) {
                    Line const ends{-1, -0.5, 0, 0.5, 1}, edges{-1.5, -1, 0.25, 2};
                    Line const v = x[0].to_vector<double>(), w = x[1].to_vector<double>();
                    Line even(4), weighted(3), counts(3);
                    for (size_t i = 0; i < v.size(); ++i) {
                      if (int const at = bin_of(v[i], ends); at >= 0) ++even[size_t(at)];
                      if (int const at = bin_of(v[i], edges); at >= 0)
                        ++counts[size_t(at)], weighted[size_t(at)] += w[i];
                    }
                    double const total = counts[0] + counts[1] + counts[2];
                    for (size_t i = 0; i < 3; ++i) counts[i] /= total == 0 ? 0 : edges[i + 1] - edges[i];
                    return Tensors{row(even), row(ends), row(weighted), row(counts)};
                  }};
  bins.differentiable = false;
  bins.bad = {{[] { histogram(ones({2}), 0); }, {"histogram", "got 0"}},
              {[] { histogram(arange(3), 2); }, {"histogram", "i64"}},
              {[] {
                 histogram(ones({2}), 3, {.range = {2, 1}});
               },
               {"histogram", "2 to 1"}},
              {[] { histogram(ones({2}), ones({1})); }, {"histogram", "[1]"}},
              {[] { histogram(ones({2}), 3, {.weight = ones({3})}); }, {"histogram", "[3]"}},
              {[] { histogram(ones({2}).requires_grad_(), 3); }, {"histogram"}}};
  list.push_back(bins);
  OpCase joint{.name = "histogramdd",
               .covers = "histogramdd",
               .inputs = {real()},
               .shapes = {{{9, 2}}, {{2, 5, 2}}, {{1, 2}}},
               .op =
                   [](Tensors const& x) {
                     Tensor const v = x[0].detach();
                     Tensor const edges = tensor({-1.5f, -1, 0.25f, 2}).to(v.dtype()).to(v.device());
                     auto const [counts, ends] = histogramdd(v, std::vector<int64_t>{4, 2}, {.range = {-1, 1, -2, 2}});
                     return Tensors{counts, ends[0], ends[1], histogramdd(v, std::vector{edges, ends[1]}).first};
                   },
               .twin =
                   [=](Tensors const& x) {
                     Line const a{-1, -0.5, 0, 0.5, 1}, b{-2, 0, 2}, c{-1.5, -1, 0.25, 2};
                     Line const v = x[0].to_vector<double>();
                     Line even(8), given(6);
                     for (size_t i = 0; i < v.size(); i += 2) {
                       int const column = bin_of(v[i + 1], b), first = bin_of(v[i], a), second = bin_of(v[i], c);
                       if (column < 0) continue;
                       if (first >= 0) ++even[size_t(2 * first + column)];
                       if (second >= 0) ++given[size_t(2 * second + column)];
                     }
                     return Tensors{tensor(even, {4, 2}), row(a), row(b), tensor(given, {3, 2})};
                   }};
  joint.differentiable = false;
  joint.bad = {{[] {
                  histogramdd(ones({2, 3}), std::vector<int64_t>{4, 2});
                },
                {"histogramdd", "2 axes", "[2, 3]"}},
               {[] {
                  histogramdd(ones({4, 1}), std::vector<int64_t>{4}, {.range = {1}});
                },
                {"histogramdd", "2 numbers, got 1"}}};
  list.push_back(joint);

  OpCase once{.name = "unique",
              .covers = "unique",
              .inputs = {index(5)},
              .shapes = {{{9}}, {{2, 4}}, {{300}}, {{0}}, {{}}},
              .op =
                  [](Tensors const& x) {
                    auto const [values, inverse, counts] = unique(x[0]);
                    return Tensors{values, inverse, counts};
                  },
              .twin =
                  [](Tensors const& x) {
                    auto const v = x[0].to_vector<double>();
                    Line values = v, inverse, counts;
                    std::sort(values.begin(), values.end());
                    values.erase(std::unique(values.begin(), values.end()), values.end());
                    for (double u : values) counts.push_back(double(std::count(v.begin(), v.end(), u)));
                    for (double u : v)
                      inverse.push_back(double(std::find(values.begin(), values.end(), u) - values.begin()));
                    return Tensors{row(values, Dtype::i64), tensor(inverse, x[0].shape()).to(Dtype::i64),
                                   row(counts, Dtype::i64)};
                  }};
  once.differentiable = false;
  once.bad = {{[] { unique(Tensor()); }, {"unique", "undefined"}},
              {[] { unique(ones({2}), 1); }, {"unique", "got 1"}},
              {[] {
                 unique(zeros({2, 0}), 0);
               },
               {"unique", "[2, 0]"}},
              {[] { unique(ones({2}).requires_grad_()); }, {"unique"}}};
  list.push_back(once);
  OpCase runs = once;
  runs.name = runs.covers = "unique_consecutive";
  runs.op = [](Tensors const& x) {
    auto const [values, inverse, counts] = unique_consecutive(x[0]);
    return Tensors{values, inverse, counts};
  };
  runs.twin = [](Tensors const& x) {
    Line values, inverse, counts;
    for (double v : x[0].to_vector<double>()) {
      if (values.empty() || v != values.back()) values.push_back(v), counts.push_back(0);
      ++counts.back();
      inverse.push_back(double(values.size()) - 1);
    }
    return Tensors{row(values, Dtype::i64), tensor(inverse, x[0].shape()).to(Dtype::i64), row(counts, Dtype::i64)};
  };
  runs.bad = {{[] { unique_consecutive(Tensor()); }, {"unique_consecutive", "undefined"}},
              {[] { unique_consecutive(ones({2}), 1); }, {"unique_consecutive", "got 1"}}};
  list.push_back(runs);
  OpCase members{.name = "isin",
                 .covers = "isin",
                 .inputs = {index(9), index(9)},
                 .shapes = {{{2, 5}, {3}}, {{7}, {0}}, {{}, {2, 2}}, {{0}, {2}}},
                 .op =
                     [](Tensors const& x) {
                       return Tensors{isin(x[0], x[1]), isin(x[0], x[1], true)};
                     },
                 .twin =
                     [](Tensors const& x) {
                       auto const tests = x[1].to_vector<double>();
                       Line y;
                       for (double v : x[0].to_vector<double>())
                         y.push_back(std::find(tests.begin(), tests.end(), v) != tests.end());
                       Tensor const found = tensor(y, x[0].shape()) != 0.0;
                       return Tensors{found, !found};
                     }};
  members.differentiable = false;
  members.bad = {{[] { isin(Tensor(), ones({2})); }, {"isin", "undefined"}},
                 {[] { isin(ones({2}), Tensor()); }, {"isin", "undefined"}}};
  list.push_back(members);
  return list;
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    OpSuite s{.sections = {"scans, sorting, searching"},
              .cases = scans(),
              .not_differentiable = {"argsort", "searchsorted", "bucketize", "bincount", "histc", "histogram",
                                     "histogramdd", "unique", "unique_consecutive", "isin"}};
    for (auto const& more : {orders(), searches()}) s.cases.insert(s.cases.end(), more.begin(), more.end());
    return s;
  }();
  return all;
}

using Ints = std::vector<int64_t>;

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("every element type sorts: short lines and long ones") {
  for (Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::bf16, Dtype::i8, Dtype::i16, Dtype::i32, Dtype::i64,
                      Dtype::u8, Dtype::boolean})
    for (int64_t n : {9, 255, 256, 1000}) {
      INFO(std::string(name(dtype)), " ", n);
      Line values;
      for (int64_t i = 0; i < n; ++i) values.push_back(double(i * 7919 % 211 - 100));
      Tensor const x = row(values, Dtype::f64).to(dtype);
      Line const kept = x.to_vector<double>();
      auto const [up, at] = sort(x);
      CHECK(up.dtype() == dtype);
      Line const want = order_of(kept, false);
      CHECK(at.to_vector<double>() == want);
      CHECK(up.to_vector<double>() == taken(kept, want));
      CHECK(argsort(x, 0, true).to_vector<double>() == order_of(kept, true));
      CHECK(unique(x).counts.numel() == unique_consecutive(up).counts.numel());
    }
}

TEST_CASE("NaN sorts last, −0 equals 0, infinities keep their sides") {
  Tensor const x = row({nan_, 0., inf, -0., -inf, nan_, 1});
  CHECK(argsort(x).to_vector<int64_t>() == Ints{4, 1, 3, 6, 2, 0, 5});
  CHECK(argsort(x, 0, true).to_vector<int64_t>() == Ints{0, 5, 2, 6, 1, 3, 4});
  CHECK(topk(x, 1).indices.item<int64_t>() == 0);
  CHECK(kthvalue(x, 6).indices.item<int64_t>() == 0);
  CHECK(searchsorted(row({1, 2, nan_}), row({nan_, 2})).to_vector<int64_t>() == Ints{3, 1});
  CHECK(unique(row({nan_, 1, nan_})).values.numel() == 3);
  CHECK(unique_consecutive(row({nan_, nan_, 1, 1})).values.numel() == 3);
  CHECK(isin(row({nan_, 1}), row({nan_, 1})).to_vector<int>() == std::vector<int>{0, 1});
  CHECK(histc(row({0, nan_, 1}), 2, 0, 1).to_vector<int>() == std::vector<int>{1, 1});
  CHECK(histc(row({1, 1, 1}), 3).to_vector<int>() == std::vector<int>{0, 3, 0});
}

TEST_CASE("running extremes: the last of equals, NaN from the first on") {
  auto const [values, indices] = cummax(row({1, nan_, 3, nan_, 2}), 0);
  CHECK(indices.to_vector<int64_t>() == Ints{0, 1, 1, 3, 3});
  CHECK(std::isnan(values.to_vector<double>()[4]));
  CHECK(cummax(row({1, 2, 2, 1, 2}), 0).indices.to_vector<int64_t>() == Ints{0, 1, 2, 2, 4});
  CHECK(cummin(row({1, 2, 2, 1, 2}), 0).indices.to_vector<int64_t>() == Ints{0, 0, 0, 3, 3});
}

TEST_CASE("logcumsumexp of infinities") {
  Tensor x = row({-inf, -inf, 1, 0, inf, 2, inf});
  CHECK(logcumsumexp(x, 0).to_vector<double>()[1] == -inf);
  CHECK(logcumsumexp(x, 0).to_vector<double>()[6] == inf);
  x = row({-inf, -inf, 1, 0, -inf});
  x.requires_grad_();
  Tensor const g = grad({sum(logcumsumexp(x, 0).slice(0, 2, 5))}, {x})[0];
  CHECK(g.to_vector<double>()[0] == 0);
  CHECK(sum(g).item() == doctest::Approx(3));
}

TEST_CASE("scans of integers and bools are i64, and of rank 0 themselves") {
  CHECK(cumsum(row({100, 100, 100}, Dtype::u8), 0).to_vector<int64_t>() == Ints{100, 200, 300});
  CHECK(cumprod(row({1, 1, 0}, Dtype::boolean), 0).dtype() == Dtype::i64);
  CHECK(cumsum(row({1.5, 1.5}), 0, Dtype::i32).to_vector<int64_t>() == Ints{1, 2});
  CHECK(cumsum(row({1.5, 1.5}), 0, Dtype::i32).dtype() == Dtype::i32);
  CHECK(cummax(row({1, 0, 1}, Dtype::boolean), 0).values.dtype() == Dtype::boolean);
  CHECK(diff(row({1, 0, 0}, Dtype::boolean)).to_vector<int>() == std::vector<int>{1, 0});
  CHECK(trapezoid(arange(3)).dtype() == Dtype::f32);
  CHECK(trapezoid(zeros({0})).item() == 0);
  Tensor x = scalar(2, Dtype::f64);
  x.requires_grad_();
  for (Tensor const& y : {cumsum(x, 0), cumprod(x, -1), logcumsumexp(x, 0), cummax(x, 0).values, sort(x).values,
                          topk(x, 1).values, kthvalue(x, 1).values}) {
    CHECK(y.rank() == 0);
    CHECK(y.item() == doctest::Approx(2));
    CHECK(grad({y}, {x}, {}, {.retain_graph = true})[0].item() == doctest::Approx(1));
  }
}

TEST_CASE("16-bit types: computed in f32, rounded once") {
  for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
    Tensor const wide = tensor({1, 2.5, -3, 0.5});
    Tensor x = wide.to(dtype);
    x.requires_grad_();
    auto const results = [](Tensor const& t) {
      return std::vector<Tensor>{cumsum(t, 0),   cumprod(t, 0),          logcumsumexp(t, 0),    cummax(t, 0).values,
                                 sort(t).values, topk(t, 2).values,      kthvalue(t, 2).values, diff(t),
                                 trapezoid(t),   cumulative_trapezoid(t)};
    };
    auto const got = results(x), want = results(wide);
    for (size_t i = 0; i < got.size(); ++i) {
      INFO(std::string(name(dtype)), " ", i);
      CHECK(got[i].dtype() == dtype);
      CHECK(differs(got[i].to(Dtype::f64), want[i].to(Dtype::f64), dtype == Dtype::f16 ? 2e-3 : 2e-2) == "");
      CHECK(grad({sum(got[i])}, {x})[0].dtype() == dtype);
    }
    NoGrad const off;
    CHECK(searchsorted(sort(x).values, x).to_vector<int64_t>() == Ints{2, 3, 0, 1});
    CHECK(unique(x).values.dtype() == dtype);
    CHECK(sum(isin(x, x)).item<int64_t>() == 4);
    CHECK(histc(x, 4).dtype() == dtype);
  }
}

TEST_CASE("unique slices") {
  Tensor const x = tensor({{1, 2}, {0, 5}, {1, 2}, {0, 4}});
  auto const [values, inverse, counts] = unique(x, 0);
  CHECK(values.to_vector<int>() == std::vector<int>{0, 4, 0, 5, 1, 2});
  CHECK(inverse.to_vector<int64_t>() == Ints{2, 1, 2, 0});
  CHECK(counts.to_vector<int64_t>() == Ints{1, 1, 2});
  CHECK(unique(x.t(), 1).values.to_vector<int>() == std::vector<int>{0, 0, 1, 4, 5, 2});
  CHECK(unique(zeros({0, 2}), 0).values.shape() == Shape{0, 2});
  CHECK(unique_consecutive(tensor({{1, 2}, {1, 2}, {0, 5}}), 0).counts.to_vector<int64_t>() == Ints{2, 1});
  CHECK(unique(row({nan_, nan_}).unsqueeze(1), 0).values.size(0) == 2);
}

TEST_CASE("types meet: values and sequences, weights and counts") {
  CHECK(searchsorted(arange(5), 2.5).item<int64_t>() == 3);
  CHECK(searchsorted(arange(5), row({2.5, 2})).to_vector<int64_t>() == Ints{3, 2});
  CHECK(isin(arange(3), row({1.0, 0.5})).to_vector<int>() == std::vector<int>{0, 1, 0});
  CHECK(bincount(arange(2), ones({2}, Dtype::f32)).dtype() == Dtype::f32);
  CHECK(bincount(arange(2), ones({2}, Dtype::i32)).dtype() == Dtype::f64);
}

namespace {

/// Numbers with repetitions, in `dtype`.
Tensor repeating(Shape const& shape, Dtype dtype) {
  Line values;
  for (int64_t i = 0; i < numel(shape); ++i) values.push_back(double(i * 7919 % 1999 - 1000) / 16);
  return tensor(values, shape).to(dtype);
}
/// The same with NaN, infinities and both zeros.
Tensor special(Shape const& shape, Dtype dtype) {
  Line values = repeating(shape, dtype).to_vector<double>();
  for (size_t i = 5; i < values.size(); i += 97) values[i] = std::vector{nan_, inf, -inf, 0., -0.}[i % 5];
  return tensor(values, shape).to(dtype);
}

using Results = std::vector<Tensor>;
void same_there(Tensor const& x, std::function<Results(Tensor const&)> const& f) {
  auto const want = f(x), got = f(x.to(emulated_device()));
  REQUIRE(got.size() == want.size());
  for (size_t k = 0; k < got.size(); ++k) {
    INFO(k);
    CHECK(got[k].device() == emulated_device());
    CHECK(same_bits(got[k].to(cpu), want[k]));
  }
}

}  // namespace

TEST_CASE("on an accelerator: lines of every length and type are ordered as on the processor") {
  // What a block sorts, several lines at once or one; what more blocks sort, by digits or in tournaments of one and of
  // two rounds.
  std::vector<Shape> const shapes{{1},       {7, 3},     {3, 2},    {2, 2048},    {2, 2049},
                                  {2049, 2}, {2, 20000}, {3, 5, 2}, {1, 2500, 2}, {300, 1}};
  for (Shape const& shape : shapes)
    for (Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::i64, Dtype::i32, Dtype::i16, Dtype::i8, Dtype::u8,
                        Dtype::boolean}) {
      bool const wide = dtype == Dtype::f32 || dtype == Dtype::f64 || dtype == Dtype::i8;
      if (numel(shape) > 3000 && (!wide || (numel(shape) > 10000 && dtype != Dtype::f32))) continue;
      INFO(to_string(shape), " ", std::string(name(dtype)));
      Tensor const x = is_floating(dtype) ? special(shape, dtype) : repeating(shape, dtype);
      int const axis = shape.rank() == 3 ? 1 : shape[0] > 2000 ? 0 : -1;
      int64_t const n = x.size(axis);
      same_there(x, [&](Tensor const& t) {
        Results all{argsort(t, axis), argsort(t, axis, true)};
        if (dtype == Dtype::boolean) return all;
        auto const [values, places] = topk(t, std::min<int64_t>(n, 9), axis);
        auto const [most, at] = topk(t, std::max<int64_t>(n / 40, 1), axis, false);
        auto const middle = median(t, axis), number = nanmedian(t, axis), often = mode(t, axis),
                   second = kthvalue(t, std::min<int64_t>(n, 2), axis);
        for (Tensor const& y : {values, places, most, at, middle.values, middle.indices, number.values, number.indices,
                                often.values, often.indices, second.values, second.indices})
          all.push_back(y);
        return all;
      });
    }
  CHECK(emulator_complaints() == "");
}

TEST_CASE("on an accelerator: long scans in both directions") {
  for (Shape const& shape : {Shape{1, 33, 1}, {3, 2048, 1}, {2, 2049, 1}, {1, 30000, 1}, {1, 700, 3}, {2, 129, 2}}) {
    INFO(to_string(shape));
    for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
      Tensor const x = repeating(shape, dtype) / 64.0, near = 1.0 + x / 100000.0;
      auto const close = [&](std::function<Tensor(Tensor const&)> const& f, Tensor const& x) {
        Tensor here = x.detach().clone().requires_grad_(), there = x.to(emulated_device()).requires_grad_();
        Tensor const want = f(here), got = f(there);
        double const error = dtype == Dtype::f32 ? 1e-6 : 1e-13;
        CHECK(differs(got.to(cpu), want, error) == "");
        sum(want * want).backward();
        sum(got * got).backward();
        CHECK(differs(there.grad().to(cpu), here.grad(), 30 * error * (1 + max(abs(here.grad())).item())) == "");
      };
      close([](Tensor const& t) { return cumsum(t, 1); }, x);
      close([](Tensor const& t) { return cumprod(t, 1); }, near);
      close([](Tensor const& t) { return logcumsumexp(t, 1); }, x);
      same_there(special(shape, dtype), [](Tensor const& t) {
        return Results{cummax(t, 1).indices, cummin(t, 1).indices};
      });
    }
    same_there(repeating(shape, Dtype::i32), [](Tensor const& t) {
      return Results{cumsum(t, 1), cumprod(t, 1), cummax(t, 1).values, cummin(t, 1).indices};
    });
  }
  for (Tensor const& x : {row({-inf, -inf, 1, 0, inf, 2, inf}), row({0, nan_, 1})})
    CHECK(differs(logcumsumexp(x.to(emulated_device()), 0).to(cpu), logcumsumexp(x, 0), 1e-6) == "");
  CHECK(emulator_complaints() == "");
}

TEST_CASE("on an accelerator: what is equal, what is there, how often") {
  Device const device = emulated_device();
  for (Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16, Dtype::i64, Dtype::u8, Dtype::boolean}) {
    INFO(std::string(name(dtype)));
    Tensor const x = is_floating(dtype) ? special({700}, dtype) : repeating({700}, dtype);
    auto const parts = [](Unique const& u) { return Results{u.values, u.inverse, u.counts}; };
    same_there(x, [&](Tensor const& t) { return parts(unique(t)); });
    same_there(sort(x).values, [&](Tensor const& t) { return parts(unique_consecutive(t)); });
    same_there(x.slice(0, 0, 80).reshape({40, 2}) * Tensor(full({}, 1, dtype)),
               [&](Tensor const& t) { return parts(unique(t, 0)); });
    same_there(x.slice(0, 0, 80).reshape({2, 40}), [&](Tensor const& t) { return parts(unique_consecutive(t, 1)); });
    same_there(x, [&](Tensor const& t) {
      Tensor const line = sort(t.slice(0, 0, 90)).values;
      return Results{isin(t, line), isin(t, line, true), searchsorted(line, t), bucketize(t, line, true)};
    });
  }
  Tensor const rows = row({1, nan_, 2, 1, nan_, 1, 0, 5, 4, 1, nan_, 2}).reshape({4, 3});
  same_there(rows, [](Tensor const& t) {
    auto const [values, inverse, counts] = unique(t, 0);
    return Results{values, inverse, counts};
  });
  Tensor const whole = repeating({3000}, Dtype::f32).to(Dtype::i64) + 70;
  same_there(whole, [](Tensor const& t) {
    return Results{bincount(t), bincount(t, {}, 9000), bincount(t, (t * 3).to(Dtype::f32))};
  });
  CHECK_FALSE(error_of([&] { bincount(row({-1}, Dtype::i64).to(device)); }).empty());
  same_there(repeating({3000}, Dtype::f32), [](Tensor const& t) {
    return Results{histc(t, 7), histc(t, 5, -1, 1), histogram(t, 11).first, histogram(t, 3, {.density = true}).first};
  });
  Tensor const there = ones({3}).to(device), wrong = arange(1, 4).to(device);
  Tensor const y = searchsorted(there, there, {.right = true, .sorter = wrong});
  CHECK(error_of([&] { y.to(cpu); }).find("searchsorted: a kernel that was queued earlier met index 3") == 0);
  CHECK(emulator_complaints() == "");
}
