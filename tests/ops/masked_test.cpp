// Reductions under a mask.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>

using namespace heed;
using namespace heed::test;

namespace {

using Line = std::vector<double>;

/// The mask in the cases: everything but some elements, some lines nearly empty.
Tensor pattern(Shape const& shape) {
  std::vector<float> bits(size_t(numel(shape)));
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = i % 5 != 1 && i % 7 != 3;
  return tensor(bits, shape).to(Dtype::boolean);
}

/// f(the numbers that count) for each line of x [A, B, C] along axis 1.
Tensor lines(Tensor const& x, double (*f)(Line const&)) {
  Tensor const mask = pattern(x.shape());
  auto const values = x.detach().transpose(1, 2).contiguous().to_vector<double>();
  auto const counts = mask.transpose(1, 2).contiguous().to_vector<double>();
  int64_t const n = x.size(1), rows = x.size(0) * x.size(2);
  Line results;
  for (int64_t r = 0; r < rows; ++r) {
    Line line;
    for (int64_t i = r * n; i < (r + 1) * n; ++i)
      if (counts[size_t(i)] != 0) line.push_back(values[size_t(i)]);
    results.push_back(f(line));
  }
  return tensor(results, {x.size(0), x.size(2)});
}

double total(Line const& v) {
  double s = 0;
  for (double x : v) s += x;
  return s;
}
double spread(Line const& v) {
  double const m = total(v) / double(v.size());
  double s = 0;
  for (double x : v) s += (x - m) * (x - m);
  return s / std::max(double(v.size()) - 0.5, 0.);
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    auto const add = [](char const* name, Function op, Function twin, Input in = real()) -> OpCase& {
      OpCase c{.name = std::string("masked::") + name,
               .covers = name,
               .inputs = {std::move(in)},
               .shapes = {{{2, 5, 3}}, {{3, 7, 4}}, {{0, 5, 3}}},
               .op = op,
               .twin = twin};
      c.f32 = 1e-5;
      c.gradient_f32 = 1e-4;
      c.bad = {{[op] { op({Tensor()}); }, {"undefined"}}};
      list().push_back(c);
      return list().back();
    };
    auto const reduction = [&](char const* name, auto f, double (*value)(Line const&), Input in = real()) -> OpCase& {
      OpCase& c = add(
          name,
          [f](Tensors const& x) {
            return Tensors{
                f(x[0], x[0].defined() ? pattern(x[0].shape()).to(x[0].device()) : ones({1}, Dtype::boolean))};
          },
          [value](Tensors const& x) { return Tensors{lines(x[0], value)}; }, in);
      std::string const full = c.name;
      c.bad.push_back({[f] { f(ones({2, 3, 4}), ones({3, 3, 4}, Dtype::boolean)); }, {full, "[2, 3, 4]", "[3, 3, 4]"}});
      c.bad.push_back({[f] { f(ones({2, 3, 4}), ones({2, 3, 4})); }, {full, "f32", "comparison"}});
      return c;
    };
    using T = Tensor const&;
    reduction(
        "sum", [](T x, T m) { return masked::sum(x, m, {1}); }, total);
    reduction(
        "prod", [](T x, T m) { return masked::prod(x, m, {1}); },
        [](Line const& v) {
          double p = 1;
          for (double x : v) p *= x;
          return p;
        });
    reduction(
        "mean", [](T x, T m) { return masked::mean(x, m, {1}); },
        [](Line const& v) { return total(v) / double(v.size()); });
    reduction(
        "median", [](T x, T m) { return masked::median(x, m, 1); },
        [](Line const& v) {
          Line sorted = v;
          std::sort(sorted.begin(), sorted.end());
          return v.empty() ? nan_ : sorted[(v.size() - 1) / 2];
        },
        distinct());
    reduction(
        "amax", [](T x, T m) { return masked::amax(x, m, {1}); },
        [](Line const& v) { return v.empty() ? -inf : *std::max_element(v.begin(), v.end()); }, distinct());
    reduction(
        "amin", [](T x, T m) { return masked::amin(x, m, {1}); },
        [](Line const& v) { return v.empty() ? inf : *std::min_element(v.begin(), v.end()); }, distinct());
    reduction(
        "var", [](T x, T m) { return masked::var(x, m, {1}, 0.5); }, spread);
    reduction(
        "std", [](T x, T m) { return masked::std(x, m, {1}, 0.5); }, [](Line const& v) { return std::sqrt(spread(v)); },
        distinct());
    reduction(
        "logsumexp", [](T x, T m) { return masked::logsumexp(x, m, {1}); },
        [](Line const& v) {
          double s = 0;
          for (double x : v) s += std::exp(x);
          return std::log(s);
        });
    reduction(
        "norm", [](T x, T m) { return masked::norm(x, m, 3, {1}); },
        [](Line const& v) {
          double s = 0;
          for (double x : v) s += std::pow(std::abs(x), 3);
          return std::cbrt(s);
        },
        real(-2, 2, {0}));
    // The place of the largest among those that count, by its value.
    for (bool largest : {true, false})
      reduction(
          largest ? "argmax" : "argmin",
          [largest](T x, T m) {
            Tensor const at = (largest ? masked::argmax : masked::argmin)(x, m, 1, true);
            return gather(x, 1, at).squeeze(1);
          },
          largest ? +[](Line const& v) { return *std::max_element(v.begin(), v.end()); }
                  : +[](Line const& v) { return *std::min_element(v.begin(), v.end()); },
          distinct())
          .differentiable = false;
    auto const along = [&](char const* name, auto f, Function twin) {
      OpCase& c = reduction(name, f, nullptr);
      c.twin = std::move(twin);
    };
    auto const weights = [](T x) { return pattern(x.shape()).to(Dtype::f64) * exp(x); };
    along(
        "softmax", [](T x, T m) { return masked::softmax(x, m, 1); },
        [=](Tensors const& x) { return Tensors{weights(x[0]) / sum(weights(x[0]), {1}, true)}; });
    along(
        "log_softmax", [](T x, T m) { return exp(masked::log_softmax(x, m, 1)); },
        [=](Tensors const& x) { return Tensors{weights(x[0]) / sum(weights(x[0]), {1}, true)}; });
    along(
        "normalize", [](T x, T m) { return masked::normalize(x, m); },
        [](Tensors const& x) {
          Tensor const seen = pattern(x[0].shape()).to(Dtype::f64) * x[0];
          return Tensors{seen / sqrt(sum(square(seen), {1}, true))};
        });
    along(
        "cumsum", [](T x, T m) { return masked::cumsum(x, m, 1); },
        [](Tensors const& x) { return Tensors{cumsum(pattern(x[0].shape()).to(Dtype::f64) * x[0], 1)}; });
    along(
        "cumprod", [](T x, T m) { return masked::cumprod(x, m, 1); },
        [](Tensors const& x) {
          Tensor const m = pattern(x[0].shape()).to(Dtype::f64);
          return Tensors{cumprod(m * x[0] + (1.0 - m), 1)};
        });
    return OpSuite{.sections = {"masked reductions"}, .cases = list(), .not_differentiable = {"argmax", "argmin"}};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("what is wholly hidden has the value of nothing, and hidden NaNs do not show") {
  Tensor const x = tensor({{1, float(nan_)}, {float(nan_), float(inf)}}), mask = tensor({{1, 0}, {0, 0}}) > 0.0;
  using Values = std::vector<double>;
  auto const is = [](Tensor const& y, Values const& want) { CHECK(differs(y, tensor(want, {2}), 0) == ""); };
  is(masked::sum(x, mask, {1}), {1, 0});
  is(masked::prod(x, mask, {1}), {1, 1});
  is(masked::mean(x, mask, {1}), {1, nan_});
  is(masked::median(x, mask, 1), {1, nan_});
  is(masked::amax(x, mask, {1}), {1, -inf});
  is(masked::amin(x, mask, {1}), {1, inf});
  is(masked::var(x, mask, {1}, 0), {0, nan_});
  is(masked::logsumexp(x, mask, {1}), {1, -inf});
  is(masked::norm(x, mask, 2, {1}), {1, 0});
  is(masked::softmax(x, mask, 1).select(0, 0), {1, 0});
  Tensor leaf = x.clone();
  leaf.requires_grad_();
  for (Tensor const& y :
       {masked::sum(leaf, mask, {1}), masked::norm(leaf, mask, 2, {1}), masked::amax(leaf, mask, {1})})
    CHECK(same_bits(grad({y.select(0, 0)}, {leaf})[0], tensor({{1, 0}, {0, 0}})));
  CHECK(masked::amax(arange(3), zeros({3}, Dtype::boolean), {0}).item<int64_t>() ==
        std::numeric_limits<int64_t>::min());
  CHECK(masked::amin(zeros({3}, Dtype::u8), zeros({3}, Dtype::boolean), {0}).item<int64_t>() == 255);
  CHECK(masked::sum(arange(4), arange(4) > 1, {0}).item<int64_t>() == 5);
}
