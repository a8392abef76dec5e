// What a comparison's runs say: each variant at its best learning rate, its differences from the baseline over paired
// seeds, and which of them are more than chance.
#pragma once

#include <heed/optim/statistics.h>

#include <string>
#include <vector>

#include "trial.h"

namespace lab {

/// A variant at its best learning rate.
struct Standing {
  Variant variant;
  double learning_rate = 0;
  std::vector<Outcome> runs;  // that did not diverge, by seed
  int64_t diverged = 0;       // runs at this rate that did
  std::string missing;        // why there is nothing to judge, where there is not
  /// Of all runs; NaN where none has it.
  double mean(std::string_view measure) const;
  double deviation(std::string_view measure) const;
};

struct Comparison {
  MeasureRow const* measure;
  size_t variant;         // of Verdict::standings
  double baseline, mean;  // over the pairs
  heed::optim::PairedDifference difference;
  heed::optim::HolmDecision decision;
  /// Half the width of the interval at the level at which it was tested.
  double half_width() const { return difference.half_width(1 - decision.level); }
  bool helps() const;
};

struct Verdict {
  std::vector<Standing> standings;  // the baseline first
  std::vector<Comparison> comparisons;
  double target = 0;  // loss that steps-to-target is about
  std::vector<std::string> sentences;
};

struct JudgeOptions {
  std::vector<Variant> variants;  // the baseline first
  std::vector<double> learning_rates;
  std::vector<int64_t> seeds;
  bool select_on_all = false;         // the best rate has the lowest mean loss over all seeds; else over the first
  double target = 0;                  // 0: the baseline's mean loss at the end
  std::vector<std::string> symptoms;  // measures that are tested; none: all that have a better side
};
/// The best rate of a variant by the rule, 0 where runs that decide are missing or all diverged.
double best_rate(std::vector<Outcome> const& outcomes, Variant const& variant, JudgeOptions const& options);
Verdict judge(std::vector<Outcome> const& outcomes, JudgeOptions const& options);

/// A value as its measure is read: "12.3 %", "1.2 MB".
std::string value_text(MeasureRow const& measure, double value);
/// A difference likewise, with its sign.
std::string difference_text(MeasureRow const& measure, double value);

}  // namespace lab
