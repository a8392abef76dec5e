#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/optim/statistics.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace heed::optim {
namespace {

/// ln Γ: std::lgamma writes a global.
double log_gamma(double x) {
  // Stirling's series after a shift to x ≥ 10.
  double shift = 0;
  for (; x < 10; ++x) shift += std::log(x);
  double const y = 1 / (x * x);
  double const series =
      (1. / 12 + y * (-1. / 360 + y * (1. / 1260 + y * (-1. / 1680 + y * (1. / 1188 - y * 691. / 360360))))) / x;
  return (x - 0.5) * std::log(x) - x + 0.918938533204672741780 + series - shift;
}

/// I_x(a, b) by Lentz's continued fraction, for x below (a+1)/(a+b+2), where it converges fast.
double beta_fraction(double x, double a, double b) {
  constexpr double tiny = 1e-300;
  auto away = [](double v) { return std::abs(v) < tiny ? tiny : v; };
  double c = 1, d = 1 / away(1 - (a + b) * x / (a + 1)), f = d;
  for (int m = 1; m < 500; ++m) {
    double const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away(1 + even * d), c = away(1 + even / c), f *= d * c;
    double const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away(1 + odd * d), c = away(1 + odd / c);
    f *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  double const front = log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * std::log(x) + b * std::log1p(-x);
  return std::exp(front) * f / a;
}

double incomplete_beta(double x, double a, double b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  return x < (a + 1) / (a + b + 2) ? beta_fraction(x, a, b) : 1 - beta_fraction(1 - x, b, a);
}

/// P(|T| > t), exact far into the tail.
double two_sided_tail(double t, double freedom) {
  return incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5);
}

}  // namespace

double student_cdf(double t, double freedom) {
  double const tail = two_sided_tail(t, freedom) / 2;
  return t > 0 ? 1 - tail : tail;
}

double student_quantile(double confidence, double freedom) {
  check(confidence > 0 && confidence < 1 && freedom > 0, "student_quantile", [&] {
    return Complaint{
        fmt::format("expected a confidence between 0 and 1 and a positive number of degrees, got {} and {}", confidence,
                    freedom),
        "use 0.95 and the number of pairs less one"};
  });
  double const tail = 1 - confidence;
  double low = 0, high = 1;
  while (two_sided_tail(high, freedom) > tail) low = high, high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-14 * high; ++i) {
    double const middle = (low + high) / 2;
    (two_sided_tail(middle, freedom) > tail ? low : high) = middle;
  }
  return (low + high) / 2;
}

double PairedDifference::half_width(double confidence) const {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (pairs < 2) return infinity;
  if (standard_error == 0) return mean == 0 || p <= 1 - confidence ? 0 : infinity;
  return standard_error * student_quantile(confidence, double(pairs - 1));
}

PairedDifference paired_difference(std::vector<double> const& a, std::vector<double> const& b) {
  check(a.size() == b.size(), "paired_difference", [&] {
    return Complaint{fmt::format("expected pairs, got {} and {} values", a.size(), b.size()),
                     "compare runs of the same seeds"};
  });
  std::vector<double> differences;
  for (size_t i = 0; i < a.size(); ++i)
    if (!std::isnan(a[i] - b[i])) differences.push_back(a[i] - b[i]);
  PairedDifference result;
  result.pairs = int64_t(differences.size());
  if (differences.empty()) return result;
  auto const n = double(differences.size());
  result.mean = std::accumulate(differences.begin(), differences.end(), 0.0) / n;
  if (differences.size() < 2) return result;
  double squares = 0;
  for (double d : differences) squares += (d - result.mean) * (d - result.mean);
  result.standard_error = std::sqrt(squares / (n - 1) / n);
  result.p = result.standard_error > 0 ? two_sided_tail(result.mean / result.standard_error, n - 1)
             : result.mean == 0        ? 1
                                       : std::exp2(1 - n);
  return result;
}

std::vector<HolmDecision> holm(std::vector<double> const& p, double alpha) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) { return p[x] < p[y]; });
  std::vector<HolmDecision> decisions(p.size());
  bool going = true;
  double level = 0, adjusted = 0;
  for (size_t k = 0; k < order.size(); ++k) {
    auto const left = double(order.size() - k);
    if (going) level = alpha / left;  // the first that is kept ends it: all later ones are kept at its level
    going = going && p[order[k]] <= level;
    adjusted = std::max(adjusted, std::min(1.0, left * p[order[k]]));
    decisions[order[k]] = {level, adjusted, going};
  }
  return decisions;
}

}  // namespace heed::optim
