// Intervals and decisions over paired runs: exact small cases, and what they promise by simulation.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/optim/statistics.h>

#include <cmath>

using namespace heed;
using namespace heed::optim;

TEST_CASE("Student's t: closed forms for one, two and four degrees, the normal limit, and tables") {
  for (double t : {-30., -3., -0.5, 0., 0.1, 1., 2.5, 12., 400.}) {
    CAPTURE(t);
    CHECK(student_cdf(t, 1) == doctest::Approx(0.5 + std::atan(t) / M_PI).epsilon(1e-10));
    CHECK(student_cdf(t, 2) == doctest::Approx(0.5 + t / (2 * std::sqrt(2 + t * t))).epsilon(1e-10));
    double const u = t / std::sqrt(4 + t * t);
    CHECK(student_cdf(t, 4) == doctest::Approx(0.5 + 0.75 * (u - u * u * u / 3)).epsilon(1e-10));
    CHECK(student_cdf(t, 3) + student_cdf(-t, 3) == doctest::Approx(1).epsilon(1e-12));
  }
  for (double t : {-2., 0.3, 1.7}) CHECK(student_cdf(t, 1e9) == doctest::Approx(0.5 * std::erfc(-t / M_SQRT2)));
  // Far tails keep their digits: P(T ≤ −t) ≈ 1/(2t²) for two degrees.
  CHECK(student_cdf(-1e6, 2) == doctest::Approx(0.5e-12).epsilon(1e-9));
  CHECK(student_quantile(0.95, 2) == doctest::Approx(4.302652729749).epsilon(1e-10));
  CHECK(student_quantile(0.95, 4) == doctest::Approx(2.776445105198).epsilon(1e-10));
  CHECK(student_quantile(0.99, 9) == doctest::Approx(3.249835541592).epsilon(1e-10));
  CHECK(student_quantile(0.999, 2) == doctest::Approx(31.599054576443).epsilon(1e-10));
  CHECK_THROWS_AS(student_quantile(1, 2), Error);
}

TEST_CASE("paired differences: an exact case, constant differences, too few pairs, NaN") {
  auto const d = paired_difference({3, 5, 10}, {1, 4, 4});  // 2, 1, 6: mean 3, variance 7
  CHECK(d.pairs == 3);
  CHECK(d.mean == doctest::Approx(3));
  CHECK(d.standard_error == doctest::Approx(std::sqrt(7. / 3)));
  double const t = 3 / std::sqrt(7. / 3);
  CHECK(d.p == doctest::Approx(1 - t / std::sqrt(2 + t * t)));
  CHECK(d.half_width(0.95) == doctest::Approx(4.302652729749 * std::sqrt(7. / 3)));
  // An interval of confidence 1 − p just reaches zero.
  CHECK(d.half_width(1 - d.p) == doctest::Approx(d.mean));

  auto const same = paired_difference({1, 2}, {1, 2}), shifted = paired_difference({2, 3}, {1, 2});
  CHECK(same.p == 1);
  CHECK(shifted.p == 0.5);  // both of two positive: by chance in half of all cases
  CHECK(std::isinf(shifted.half_width(0.95)));
  CHECK(shifted.half_width(0.4) == 0);
  CHECK(paired_difference({}, {}).pairs == 0);
  auto const one = paired_difference({1}, {0});
  CHECK(one.p == 1);
  CHECK(std::isinf(one.half_width(0.95)));
  CHECK(paired_difference({1, NAN, 4}, {0, 1, 2}).pairs == 2);
  CHECK_THROWS_AS(paired_difference({1}, {1, 2}), Error);
}

TEST_CASE("Holm: the textbook case, order, monotone adjusted values, and levels that agree with the decisions") {
  auto const d = holm({0.01, 0.04, 0.03, 0.005});
  CHECK(d[3].rejected);
  CHECK(d[0].rejected);
  CHECK(!d[2].rejected);
  CHECK(!d[1].rejected);  // though 0.04 < 0.05: an earlier one was kept
  CHECK(d[3].level == doctest::Approx(0.0125));
  CHECK(d[0].level == doctest::Approx(0.05 / 3));
  CHECK(d[2].level == doctest::Approx(0.025));
  CHECK(d[1].level == doctest::Approx(0.025));
  CHECK(d[3].adjusted == doctest::Approx(0.02));
  CHECK(d[0].adjusted == doctest::Approx(0.03));
  CHECK(d[2].adjusted == doctest::Approx(0.06));
  CHECK(d[1].adjusted == doctest::Approx(0.06));
  CHECK(holm({}).empty());
  CHECK(holm({0.04})[0].rejected);
  std::vector<double> p;
  for (int i = 0; i < 40; ++i) p.push_back(std::fmod(i * 0.0077 + 0.00005 * i * i, 0.02));
  for (size_t i = 0; i < p.size(); ++i) {
    HolmDecision const one = holm(p)[i];
    CHECK((p[i] <= one.level) == one.rejected);
    CHECK((one.adjusted <= 0.05) == one.rejected);
  }
}

TEST_CASE("coverage: intervals of three and of six pairs hold the mean, and Holm keeps its promise") {
  Generator generator(7);
  constexpr int64_t repetitions = 20000;
  for (int64_t n : {3, 6}) {
    // Pairs share a part that is far larger than what differs, as runs of one seed do.
    Tensor const shared = 10 * randn({repetitions, n}, Dtype::f64, generator);
    auto const a = (shared + randn({repetitions, n}, Dtype::f64, generator) + 0.7).to_vector<double>();
    auto const b = (shared + randn({repetitions, n}, Dtype::f64, generator)).to_vector<double>();
    int64_t held = 0;
    for (int64_t r = 0; r < repetitions; ++r) {
      auto const row = [&](std::vector<double> const& x) {
        return std::vector<double>(x.begin() + r * n, x.begin() + (r + 1) * n);
      };
      auto const d = paired_difference(row(a), row(b));
      held += std::abs(d.mean - 0.7) <= d.half_width(0.95);
    }
    double const coverage = double(held) / repetitions;
    CAPTURE(n);
    CHECK(std::abs(coverage - 0.95) < 4 * std::sqrt(0.95 * 0.05 / repetitions));
  }
  // Eight tests, five of them of nothing: at least one false rejection in at most 5 of 100.
  constexpr int64_t families = 4000, tests = 8, n = 4;
  auto const noise = randn({families, tests, n}, Dtype::f64, generator).to_vector<double>();
  int64_t wrong = 0, found = 0;
  for (int64_t f = 0; f < families; ++f) {
    std::vector<double> p;
    for (int64_t k = 0; k < tests; ++k) {
      std::vector<double> x(noise.begin() + (f * tests + k) * n, noise.begin() + (f * tests + k + 1) * n);
      if (k >= 5)
        for (double& v : x) v += 20;
      p.push_back(paired_difference(x, std::vector<double>(size_t(n), 0.0)).p);
    }
    auto const decisions = holm(p);
    bool any = false;
    for (size_t k = 0; k < 5; ++k) any = any || decisions[k].rejected;
    for (size_t k = 5; k < 8; ++k) found += decisions[k].rejected;
    wrong += any;
  }
  CHECK(double(wrong) / families < 0.05 + 4 * std::sqrt(0.05 * 0.95 / families));
  CHECK(found > families * 3 * 9 / 10);
}
