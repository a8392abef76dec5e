// Random tensors: distributions against their distribution functions, streams, generators.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <set>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

using Values = std::vector<double>;
using Sampler = std::function<Tensor(Shape const&, Dtype, Generator&)>;

double normal_below(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

/// A distribution, and its probability of a value not above x.
struct Continuous {
  std::string name;
  Sampler draw;
  std::function<double(double)> below;
};

Sampler of_parameter(Tensor (*sample)(Tensor const&, Generator&), double parameter) {
  return [=](Shape const& shape, Dtype dtype, Generator& g) { return sample(full(shape, parameter, dtype), g); };
}

std::vector<Continuous> const& continuous() {
  static std::vector<Continuous> const all{
      {"rand", [](Shape const& s, Dtype t, Generator& g) { return rand(s, t, g); }, [](double x) { return x; }},
      {"randn", [](Shape const& s, Dtype t, Generator& g) { return randn(s, t, g); }, normal_below},
      {"uniform", [](Shape const& s, Dtype t, Generator& g) { return uniform(s, -2, 3, t, g); },
       [](double x) { return (x + 2) / 5; }},
      {"normal", [](Shape const& s, Dtype t, Generator& g) { return normal(s, 1.5, 0.7, t, g); },
       [](double x) { return normal_below((x - 1.5) / 0.7); }},
      {"normal of tensors",
       [](Shape const& s, Dtype t, Generator& g) { return normal(full(s, -1, t), full({1}, 2, t), g); },
       [](double x) { return normal_below((x + 1) / 2); }},
      {"log_normal", [](Shape const& s, Dtype t, Generator& g) { return log_normal(s, 0.3, 0.6, t, g); },
       [](double x) { return normal_below((std::log(x) - 0.3) / 0.6); }},
      {"exponential", [](Shape const& s, Dtype t, Generator& g) { return exponential(s, 2.5, t, g); },
       [](double x) { return -std::expm1(-2.5 * x); }},
      {"laplace", [](Shape const& s, Dtype t, Generator& g) { return laplace(s, 0.5, 1.5, t, g); },
       [](double x) {
         double const z = (x - 0.5) / 1.5;
         return z < 0 ? 0.5 * std::exp(z) : 1 - 0.5 * std::exp(-z);
       }},
      {"cauchy", [](Shape const& s, Dtype t, Generator& g) { return cauchy(s, -0.5, 2, t, g); },
       [](double x) { return 0.5 + std::atan((x + 0.5) / 2) / std::numbers::pi; }},
      {"gumbel", [](Shape const& s, Dtype t, Generator& g) { return gumbel(s, t, g); },
       [](double x) { return std::exp(-std::exp(-x)); }},
      // Of integer and half shapes, distribution functions are elementary.
      {"gamma 3", of_parameter(gamma, 3), [](double x) { return 1 - std::exp(-x) * (1 + x + x * x / 2); }},
      {"gamma 1", of_parameter(gamma, 1), [](double x) { return -std::expm1(-x); }},
      {"gamma 1/2", of_parameter(gamma, 0.5), [](double x) { return std::erf(std::sqrt(x)); }},
      {"beta 2 3", [](Shape const& s, Dtype t, Generator& g) { return beta(full(s, 2, t), full({1}, 3, t), g); },
       [](double x) { return x * x * (6 - 8 * x + 3 * x * x); }},
      {"beta 1/2 1/2",
       [](Shape const& s, Dtype t, Generator& g) { return beta(full(s, 0.5, t), full({1}, 0.5, t), g); },
       [](double x) { return 2 / std::numbers::pi * std::asin(std::sqrt(x)); }},
      // The first of three parts of concentration 1 is beta(1, 2).
      {"dirichlet 1 1 1",
       [](Shape const& s, Dtype t, Generator& g) {
         return dirichlet(ones({numel(s), 3}, t), g).select(1, 0).reshape(s);
       },
       [](double x) { return 1 - (1 - x) * (1 - x); }}};
  return all;
}

struct Truncation {
  double mean, deviation, low, high;
};
std::vector<Truncation> const truncations{{0, 1, -2, 2},   {1, 0.5, 0.9, 1.2}, {0, 1, 0.2, 0.9}, {0, 1, 3, inf},
                                          {0, 1, -9, -8},  {0, 1, 30, 31},     {0, 1, 6, 6.01},  {2, 3, -inf, 2},
                                          {0, 1, -0.1, 5}, {0, 1, -4, inf}};

/// √n·sup |empirical − expected|; above 1.95 once in a thousand.
double kolmogorov(Values sample, std::function<double(double)> const& below) {
  std::sort(sample.begin(), sample.end());
  double worst = 0;
  double const n = double(sample.size());
  for (size_t i = 0; i < sample.size(); ++i) {
    double const expected = below(sample[i]);
    worst = std::max({worst, expected - double(i) / n, double(i + 1) / n - expected});
  }
  return worst * std::sqrt(n);
}

/// A distribution over 0, 1, …, and the probability of each.
struct Discrete {
  std::string name;
  Sampler draw;
  std::function<double(int)> probability;
};

double log_choose(double n, double k) { return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1); }

std::vector<Discrete> discrete() {
  std::vector<Discrete> all{
      {"bernoulli", of_parameter([](Tensor const& p, Generator& g) { return bernoulli(p, g); }, 0.3),
       [](int k) { return k == 1   ? 0.3
                          : k == 0 ? 0.7
                                   : 0; }},
      {"bernoulli of a number", [](Shape const& s, Dtype t, Generator& g) { return bernoulli(s, 0.8, t, g); },
       [](int k) { return k == 1   ? 0.8
                          : k == 0 ? 0.2
                                   : 0; }},
      {"geometric", [](Shape const& s, Dtype t, Generator& g) { return geometric(s, 0.3, t, g); },
       [](int k) { return k < 1 ? 0 : 0.3 * std::pow(0.7, k - 1); }},
      {"randint", [](Shape const& s, Dtype, Generator& g) { return randint(2, 9, s, g); },
       [](int k) { return k >= 2 && k < 9 ? 1. / 7 : 0; }},
      {"categorical",
       [](Shape const& s, Dtype t, Generator& g) {
         Tensor const logits = log(tensor({1, 3, 0, 4})).to(t);
         return categorical(logits.expand({numel(s), 4}), g).reshape(s);
       },
       [](int k) {
         return k < 4 ? Values{1. / 8, 3. / 8, 0, 4. / 8}[size_t(k)] : 0;
       }},
      {"multinomial",
       [](Shape const& s, Dtype t, Generator& g) {
         return multinomial(tensor({1, 3, 0, 4}).to(t), numel(s), true, g).reshape(s);
       },
       [](int k) {
         return k < 4 ? Values{1. / 8, 3. / 8, 0, 4. / 8}[size_t(k)] : 0;
       }},
      // Without replacement: the pair's index 4·first + second.
      {"multinomial without replacement",
       [](Shape const& s, Dtype t, Generator& g) {
         Tensor const two = multinomial(tensor({1, 3, 0, 4}).to(t).expand({numel(s), 4}), 2, false, g);
         return (two.select(1, 0) * full({}, 4, Dtype::i64) + two.select(1, 1)).reshape(s);
       },
       [](int k) {
         Values const w{1, 3, 0, 4};
         if (k >= 16) return 0.;
         size_t const first = size_t(k) / 4, second = size_t(k) % 4;
         return first == second ? 0 : w[first] / 8 * w[second] / (8 - w[first]);
       }},
      {"randperm",
       [](Shape const& s, Dtype, Generator& g) {
         std::vector<int64_t> codes;
         for (int64_t i = 0; i < numel(s); i += 40) {
           auto const p = randperm(4, g).to_vector<int64_t>();
           for (int copy = 0; copy < 40; copy += 20) codes.push_back(p[0] * 4 + p[1] + (p[2] > p[3] ? 16 : 0));
         }
         // Every draw once.
         std::vector<int64_t> single;
         for (size_t i = 0; i < codes.size(); i += 2) single.push_back(codes[i]);
         return tensor(single, {int64_t(single.size())});
       },
       [](int k) { return k < 32 && k % 16 / 4 != k % 4 ? 1. / 24 : 0; }}};
  for (double rate : {0.5, 4., 12., 150.})
    all.push_back({"poisson " + std::to_string(rate), of_parameter(poisson, rate),
                   [=](int k) { return std::exp(k * std::log(rate) - rate - std::lgamma(k + 1.)); }});
  for (auto [n, p] : std::vector<std::pair<double, double>>{{1, 0.4}, {10, 0.25}, {10, 0.9}, {60, 0.3}, {500, 0.75}})
    all.push_back({"binomial " + std::to_string(n) + " " + std::to_string(p),
                   [=](Shape const& s, Dtype t, Generator& g) { return binomial(full(s, n, t), full({1}, p, t), g); },
                   [=](int k) {
                     if (k > n) return 0.;
                     return std::exp(log_choose(n, k) + k * std::log(p) + (n - k) * std::log1p(-p));
                   }});
  return all;
}

/// (χ² − degrees)/√(2·degrees) over values expected five times or more, the others as one; ∞ for an impossible value.
double chi_square(Values const& sample, std::function<double(int)> const& probability) {
  std::vector<double> counts;
  for (double v : sample) {
    if (v < 0 || v != std::floor(v) || probability(int(v)) == 0) return inf;
    counts.resize(std::max(counts.size(), size_t(v) + 1), 0);
    ++counts[size_t(v)];
  }
  double const n = double(sample.size());
  double chi = 0, rest_expected = n, rest_seen = n;
  int degrees = 0;
  for (size_t k = 0; k < counts.size() + 1000; ++k) {
    double const expected = n * probability(int(k));
    if (expected < 5) continue;
    double const seen = k < counts.size() ? counts[k] : 0;
    chi += (seen - expected) * (seen - expected) / expected;
    rest_expected -= expected;
    rest_seen -= seen;
    ++degrees;
  }
  if (rest_expected >= 5)
    chi += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
  else
    --degrees;
  return (chi - degrees) / std::sqrt(2. * degrees);
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    OpSuite s{.sections = {"random"},
              .cases = {},
              // normal() has its own gradient test below.
              .not_differentiable = {
                  "normal",       "rand",     "rand_like", "randn",      "randn_like",       "randint",
                  "randint_like", "randperm", "uniform",   "log_normal", "truncated_normal", "exponential",
                  "laplace",      "cauchy",   "geometric", "gumbel",     "bernoulli",        "poisson",
                  "binomial",     "gamma",    "beta",      "dirichlet",  "multinomial",      "categorical"}};
    for (bool hard : {false, true})
      for (int axis : {-1, 0}) {
        auto const noise = [](Tensor const& like) {
          Generator generator(5);
          return gumbel(like.shape(), like.dtype(), generator);
        };
        OpCase c{.name = std::string("gumbel_softmax ") + (hard ? "hard " : "") + std::to_string(axis),
                 .covers = "gumbel_softmax",
                 .inputs = {real()},
                 .shapes = {{{3, 5}}, {{2, 3, 4}}, {{7}}, {{3, 33}}},
                 .op =
                     [=](Tensors const& x) {
                       Generator generator(5);
                       return Tensors{
                           gumbel_softmax(x[0], {.tau = 0.7, .hard = hard, .axis = axis, .generator = &generator})};
                     },
                 .twin = [=](Tensors const& x) -> Tensors {
                   Tensor const soft = naive::softmax((x[0] + noise(x[0])) / 0.7, axis);
                   if (!hard) return {soft};
                   return {(soft == amax(soft, {axis}, true)).to(Dtype::f64)};
                 }};
        // The hard values' gradient is not that of their differences.
        if (hard) c.differentiable = false;
        c.bad = {{[] { gumbel_softmax(ones({2}), {.tau = 0}); }, {"gumbel_softmax", "got 0"}},
                 {[] { gumbel_softmax(ones({2}), {.axis = 1}); }, {"gumbel_softmax", "got 1"}},
                 {[] { gumbel_softmax(arange(3)); }, {"gumbel_softmax", "i64"}}};
        s.cases.push_back(c);
      }
    for (int axis : {0, -1})
      s.cases.push_back(
          {.name = "shuffle " + std::to_string(axis),
           .covers = "shuffle",
           .inputs = {real()},
           .shapes = {{{3, 5}}, {{2, 3, 4}}, {{7}}, {{5, 33}}, {{0, 0}}},
           .op =
               [=](Tensors const& x) {
                 Generator generator(8);
                 return Tensors{shuffle(x[0], axis, generator)};
               },
           .twin = [=](Tensors const& x) -> Tensors {
             Generator generator(8);
             Tensors pieces;
             for (int64_t i : randperm(x[0].size(axis), generator).to_vector<int64_t>())
               pieces.push_back(x[0].slice(axis, i, i + 1));
             return {pieces.empty() ? x[0] : cat(pieces, axis)};
           },
           .bad = {{[] { shuffle(ones({2}), 1); }, {"shuffle", "got 1"}}, {[] { shuffle(scalar(1)); }, {"shuffle"}}}});
    return s;
  }();
  return all;
}

}  // namespace

TEST_CASE("values: differentiable samplers against their twins") { every_case(suite(), check_values); }
TEST_CASE("gradients of differentiable samplers") {
  every_case(suite(), [](OpCase const& c) {
    if (!c.differentiable) return;
    check_gradients(c);
    check_second_order(c);
    check_strides(c);
    check_subsets(c);
  });
}
TEST_CASE("bad input names the op and what was wrong") { every_case(suite(), check_bad); }
TEST_CASE("the catalogue's sections have no op without a case") { check_coverage(suite()); }

TEST_CASE("gumbel_softmax: hard values carry the soft ones' gradient") {
  Tensor const logits = numbers({4, 3}, 1).requires_grad_(), weights = numbers({4, 3}, 2);
  Generator a(3), b(3);
  Tensor const hard = grad({sum(gumbel_softmax(logits, {.hard = true, .generator = &a}) * weights)}, {logits})[0];
  Tensor const soft = grad({sum(gumbel_softmax(logits, {.generator = &b}) * weights)}, {logits})[0];
  CHECK(same_bits(hard, soft));
}

TEST_CASE("normal of tensors: gradients for mean and deviation") {
  auto const draw = [](std::vector<Tensor> const& x) {
    Generator generator(6);
    return std::vector<Tensor>{normal(x[0], x[1], generator)};
  };
  for (auto const& [mean, deviation] :
       std::vector<std::pair<Shape, Shape>>{{{3, 5}, {3, 5}}, {{2, 1, 4}, {3, 1}}, {{}, {7}}}) {
    Tensor const m = numbers(mean, 1).requires_grad_(), s = (numbers(deviation, 2) + 2.0).requires_grad_();
    CHECK(gradcheck(draw, {m, s}) == "");
    CHECK(gradgradcheck(draw, {m, s}) == "");
    Generator generator(6);
    Tensor const noise = randn(broadcast("test", mean, deviation), Dtype::f64, generator);
    CHECK(differs(draw({m, s})[0], m + s * noise, 0) == "");
  }
}

TEST_CASE("continuous distributions: the largest distance to the distribution function") {
  constexpr int64_t n = 60000;
  uint64_t key = 100;
  for (Continuous const& d : continuous())
    for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
      INFO(d.name, " ", std::string(name(dtype)));
      Generator generator(++key);
      Tensor const x = d.draw({n}, dtype, generator);
      CHECK(x.dtype() == dtype);
      Values const sample = x.to_vector<double>();
      CHECK(kolmogorov(sample, d.below) < 1.95);
      // The test sees a scale that is off by 4 % or a shift of that order.
      if (dtype == Dtype::f64)
        CHECK(kolmogorov(sample, [&](double v) {
                return d.below(d.name == "rand" ? std::min(1., 1.04 * v) : 1.04 * v);
              }) > 1.95);
      // Neighbours know nothing of each other.
      double product = 0;
      for (size_t i = 1; i < sample.size(); ++i) product += (d.below(sample[i]) - 0.5) * (d.below(sample[i - 1]) - 0.5);
      CHECK(std::abs(product) * 12 / std::sqrt(double(n)) < 4);
    }
}

TEST_CASE("truncated_normal: any interval, and never beyond it") {
  uint64_t key = 2200;
  for (Truncation const& t : truncations) {
    INFO(t.mean, " ", t.deviation, " ", t.low, " ", t.high);
    Generator generator(++key);
    Values const sample =
        truncated_normal({20000}, t.mean, t.deviation, t.low, t.high, Dtype::f64, generator).to_vector<double>();
    for (double v : sample) REQUIRE((v >= t.low && v <= t.high));
    double a = (t.low - t.mean) / t.deviation, b = (t.high - t.mean) / t.deviation;
    double const sign = b < 0 || (a < 0 && b <= -a) ? -1 : 1;  // the tail in which erfc keeps its digits
    if (sign < 0) std::tie(a, b) = std::pair(-b, -a);
    auto const upper = [](double z) { return std::erfc(z / std::numbers::sqrt2); };
    CHECK(kolmogorov(sample, [&](double v) {
            double const z = sign * (v - t.mean) / t.deviation;
            double const share = (upper(a) - upper(z)) / (upper(a) - upper(b));
            return sign > 0 ? share : 1 - share;
          }) < 1.95);
  }
}

TEST_CASE("discrete distributions: chi-square") {
  uint64_t key = 3300;
  for (Discrete const& d : discrete())
    for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
      INFO(d.name, " ", std::string(name(dtype)));
      Generator generator(++key);
      Values const sample = d.draw({40000}, dtype, generator).to_vector<double>();
      CHECK(chi_square(sample, d.probability) < 4);
      CHECK(chi_square(sample, d.probability) > -4);
    }
}

TEST_CASE("parts of a dirichlet sum to 1, however small the concentration") {
  Generator generator(1);
  for (double concentration : {1e-3, 0.1, 5.}) {
    Tensor const x = dirichlet(full({200, 4}, concentration), generator);
    for (double total : sum(x, {-1}).to_vector<double>()) CHECK(total == doctest::Approx(1).epsilon(1e-5));
    CHECK(amin(x, {0, 1}).item() >= 0);
    CHECK(mean(x.select(1, 2)).item() == doctest::Approx(0.25).epsilon(0.5));
  }
}

TEST_CASE("the same bits for any number of threads, and again from the same generator") {
  int const before = thread_count();
  auto const draws = [] {
    std::vector<Tensor> all;
    Generator generator(11);
    for (Continuous const& d : continuous()) all.push_back(d.draw({5000}, Dtype::f32, generator));
    for (Discrete const& d : discrete()) all.push_back(d.draw({5000}, Dtype::f32, generator));
    return all;
  };
  set_thread_count(1);
  auto const one = draws();
  for (int threads : {2, 4}) {
    set_thread_count(threads);
    auto const more = draws();
    for (size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i], more[i]));
  }
  set_thread_count(before);
}

TEST_CASE("a generator is two numbers: saved, restored, split") {
  Generator generator(17);
  rand({5}, Dtype::f32, generator);
  Generator const saved(generator.seed(), generator.offset());
  Tensor const next = gamma(full({100}, 0.3), generator);
  Generator restored = saved;
  CHECK(same_bits(gamma(full({100}, 0.3), restored), next));
  CHECK((restored.seed() == generator.seed() && restored.offset() == generator.offset()));

  Generator again(17), other(18);
  auto const first = again.split(8), second = again.split(8);
  CHECK(again.offset() == 2);
  std::set<uint64_t> seeds{again.seed()};
  for (auto const& streams : {first, second, other.split(8)})
    for (Generator const& g : streams) {
      CHECK(g.offset() == 0);
      seeds.insert(g.seed());
    }
  CHECK(seeds.size() == 25);
  Generator repeat(17);
  CHECK(repeat.split(8)[3].seed() == first[3].seed());
  // Streams of neighbours do not move together.
  Generator a = first[0], b = first[1];
  Tensor const x = randn({20000}, Dtype::f64, a), y = randn({20000}, Dtype::f64, b);
  CHECK(std::abs(mean(x * y).item()) < 4 / std::sqrt(20000.));
}

TEST_CASE("shapes, types and limits of samplers") {
  Generator g(1);
  CHECK(rand_like(ones({2, 3}, Dtype::f64)).dtype() == Dtype::f64);
  CHECK(randn_like(ones({2, 3})).shape() == Shape{2, 3});
  Tensor const whole = randint_like(zeros({50}, Dtype::u8), 3, 6);
  CHECK(whole.dtype() == Dtype::u8);
  for (int v : whole.to_vector<int>()) CHECK((v >= 3 && v < 6));
  CHECK(randperm(0).numel() == 0);
  CHECK(sum(shuffle(arange(9), 0, g)).item<int>() == 36);
  auto order = randperm(1000, g).to_vector<int64_t>();
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) CHECK(order[size_t(i)] == i);
  for (auto const& draw : continuous()) CHECK(draw.draw({0}, Dtype::f32, g).numel() == 0);
  CHECK(bernoulli(tensor({0, 1, 0, 1})).to_vector() == std::vector<float>{0, 1, 0, 1});
  CHECK(poisson(zeros({3})).to_vector() == std::vector<float>{0, 0, 0});
  CHECK(binomial(tensor({0, 5, 5}), tensor({0.5, 0, 1})).to_vector() == std::vector<float>{0, 0, 5});
  CHECK(gamma(zeros({2})).to_vector() == std::vector<float>{0, 0});
  CHECK(uniform({4}, 2, 2).to_vector() == std::vector<float>(4, 2));
  // The high end is not reached, though f32 rounds to it.
  float const below = std::nextafter(1.f, 0.f);
  for (float v : uniform({2000}, below, 1).to_vector()) CHECK(v == below);
  for (Dtype half : {Dtype::f16, Dtype::bf16})
    for (Tensor const& x : {rand({3000}, half, g), uniform({3000}, 0, 1, half, g)}) {
      CHECK(x.dtype() == half);
      CHECK(amax(x.to(Dtype::f32), {0}).item() < 1);
      CHECK(mean(x.to(Dtype::f32)).item() == doctest::Approx(0.5).epsilon(0.05));
    }
  auto rows = multinomial(ones({3, 5}), 5, false, g);
  CHECK(rows.shape() == Shape{3, 5});
  CHECK(sum(rows, {1}).to_vector<int>() == std::vector<int>{10, 10, 10});
}

TEST_CASE("samplers refuse what has no distribution, and lose no gradient in silence") {
  Tensor const one = ones({2}), negative = -ones({2}), three = ones({3});
  std::vector<std::pair<std::string, std::function<void()>>> const bad{
      {"rand_like", [] { rand_like(Tensor()); }},
      {"randn", [] { randn({2}, Dtype::i64); }},
      {"randn_like", [] { randn_like(Tensor()); }},
      {"randint", [=] { randint_like(one, 3, 3); }},
      {"randperm", [] { randperm(-1); }},
      {"uniform", [] { uniform({2}, 1, 0); }},
      {"uniform", [] { uniform({2}, 0, nan_); }},
      {"log_normal", [] { log_normal({2}, 0, 0); }},
      {"truncated_normal", [] { truncated_normal({2}, 0, 1, 2, 2); }},
      {"truncated_normal", [] { truncated_normal({2}, 0, 0, 1, 2); }},
      {"normal", [=] { normal(one, negative); }},
      {"normal", [] { normal({2}, 0, -1); }},
      {"exponential", [] { exponential({2}, 0); }},
      {"laplace", [] { laplace({2}, 0, -1); }},
      {"cauchy", [] { cauchy({2}, 0, 0); }},
      {"geometric", [] { geometric({2}, 0); }},
      {"geometric", [] { geometric({2}, 1); }},
      {"gumbel", [] { gumbel({2}, Dtype::i32); }},
      {"bernoulli", [=] { bernoulli(one * 1.5); }},
      {"bernoulli", [] { bernoulli({2}, -0.1); }},
      {"bernoulli", [] { bernoulli(arange(2)); }},
      {"poisson", [=] { poisson(negative); }},
      {"poisson", [=] { poisson(one * inf); }},
      {"binomial", [=] { binomial(negative, one); }},
      {"binomial", [=] { binomial(one, one * 2.0); }},
      {"binomial", [=] { binomial(one, three); }},
      {"gamma", [=] { gamma(negative); }},
      {"beta", [=] { beta(one, negative); }},
      {"beta", [=] { beta(one, three); }},
      {"dirichlet", [=] { dirichlet(negative); }},
      {"dirichlet", [] { dirichlet(scalar(1)); }},
      {"multinomial", [=] { multinomial(negative, 1); }},
      {"multinomial", [=] { multinomial(one, 3); }},
      {"multinomial", [] { multinomial(zeros({2}), 1, true); }},
      {"multinomial", [=] { multinomial(one, 0); }},
      {"categorical", [] { categorical(scalar(1)); }},
      {"categorical", [] { categorical(arange(2)); }},
  };
  for (auto const& [op, call] : bad) {
    std::string const text = error_of(call);
    CHECK_MESSAGE(text.find(op) != std::string::npos, op, ": ", text);
  }
  Tensor const p = full({2}, 0.5).requires_grad_();
  for (std::function<void()> const& call :
       std::vector<std::function<void()>>{[=] { bernoulli(p); }, [=] { poisson(p); }, [=] { gamma(p); },
                                          [=] { beta(p, p); }, [=] { dirichlet(p); }, [=] { binomial(p, p); }})
    CHECK(error_of(call) != "");
}
