// What paired runs say: the mean of their differences with its interval, and decisions over many such differences.
#pragma once

#include <cstdint>
#include <vector>

namespace heed::optim {

/// P(T ≤ t) of Student's t with `freedom` degrees of freedom (Student, 1908), by the regularised incomplete beta
/// function; relative error of the smaller tail below 1e-10.
double student_cdf(double t, double freedom);
/// The t with P(|T| ≤ t) = confidence; 0 < confidence < 1.
double student_quantile(double confidence, double freedom);

/// Differences a_i − b_i of pairs that share all but what is compared (the seed, hence data and order).
struct PairedDifference {
  int64_t pairs = 0;
  double mean = 0;
  double standard_error = 0;  // s/√n, s² the unbiased variance of the differences; 0 for fewer than two pairs
  double p = 1;  // of the two-sided t test of mean 0 with n−1 degrees of freedom; 1 for fewer than two pairs
  /// mean ± half_width(0.95) holds the true mean in 95 of 100 repetitions where differences are normal; infinite for
  /// fewer than two pairs. It leaves 0 out exactly where p is below 1 − confidence.
  double half_width(double confidence) const;
};
/// An Error where the lengths differ. Pairs with a NaN count for nothing. Differences that are all the same, as counts
/// may be, say nothing about their spread: p is then the sign test's, 2^(1−n).
PairedDifference paired_difference(std::vector<double> const& a, std::vector<double> const& b);

/// One of several tests that are decided together.
struct HolmDecision {
  double level;     // at which this one was tested, at most alpha: an interval of confidence 1 − level leaves 0 out
                    // exactly where it is rejected
  double adjusted;  // p that compares with alpha itself
  bool rejected;
};
/// Holm's step-down correction: the chance of even one false rejection is at most alpha, whatever the dependence (Holm,
/// 1979). One decision for each p, in their order.
std::vector<HolmDecision> holm(std::vector<double> const& p, double alpha = 0.05);

}  // namespace heed::optim
