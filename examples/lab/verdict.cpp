#include "verdict.h"

#include <fmt/format.h>
#include <heed/engine/error.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lab {

using namespace heed;

namespace {

double value_of(Outcome const& o, std::string_view measure) {
  auto const found = o.values.find(std::string(measure));
  return found == o.values.end() ? NAN : found->second;
}

/// {steps, seconds} of the first evaluation that is as good as `target`; those of the whole run where none is.
std::pair<double, double> reached(Outcome const& o, double target) {
  for (auto const& [step, seconds, loss] : o.validation)
    if (loss <= target) return {step, seconds};
  if (o.validation.empty()) return {NAN, NAN};
  return {o.validation.back()[0], o.validation.back()[1]};
}

std::string plural(int64_t n, std::string_view word) { return fmt::format("{} {}{}", n, word, n == 1 ? "" : "s"); }

}  // namespace

double Standing::mean(std::string_view measure) const {
  double sum = 0, n = 0;
  for (Outcome const& run : runs)
    if (double const v = value_of(run, measure); !std::isnan(v)) sum += v, n += 1;
  return n > 0 ? sum / n : NAN;
}

double Standing::deviation(std::string_view measure) const {
  double const centre = mean(measure);
  double sum = 0, n = 0;
  for (Outcome const& run : runs)
    if (double const v = value_of(run, measure); !std::isnan(v)) sum += (v - centre) * (v - centre), n += 1;
  return n > 1 ? std::sqrt(sum / (n - 1)) : NAN;
}

bool Comparison::helps() const {
  return measure->better == MeasureRow::lower ? difference.mean < 0 : difference.mean > 0;
}

std::string value_text(MeasureRow const& m, double v) {
  if (std::isnan(v)) return "–";
  if (v < 0) return "−" + value_text(m, -v);
  if (std::isinf(v)) return "∞";
  switch (m.format) {
    case MeasureRow::number:
      return v < 1e-3 ? fmt::format("{:.4f}", v) : fmt::format("{:.3g}", v);
    case MeasureRow::percent:
      return fmt::format("{:.1f} %", 100 * v);
    case MeasureRow::seconds:
      return v < 1 ? fmt::format("{:.3g} ms", 1e3 * v) : fmt::format("{:.3g} s", v);
    case MeasureRow::bytes:
      return fmt::format("{:.3g} MB", v / 1e6);
    case MeasureRow::steps:
      return fmt::format("{:.0f}", v);
  }
  return "";
}

std::string difference_text(MeasureRow const& m, double v) { return (v >= 0 ? "+" : "") + value_text(m, v); }

double best_rate(std::vector<Outcome> const& outcomes, Variant const& variant, JudgeOptions const& o) {
  double best = 0, lowest = INFINITY;
  for (double rate : o.learning_rates) {
    double sum = 0;
    for (int64_t seed : o.seeds) {
      if (!o.select_on_all && seed != o.seeds[0]) continue;
      auto const found = std::find_if(outcomes.begin(), outcomes.end(), [&](Outcome const& run) {
        return run.trial.variant == variant && run.trial.seed == seed && run.trial.learning_rate == rate;
      });
      if (found == outcomes.end()) return 0;
      sum += found->diverged ? INFINITY : value_of(*found, "loss");
    }
    if (sum < lowest) lowest = sum, best = rate;
  }
  return best;
}

Verdict judge(std::vector<Outcome> const& outcomes, JudgeOptions const& o) {
  Verdict v;
  for (Variant const& variant : o.variants) {
    Standing s{.variant = variant, .learning_rate = best_rate(outcomes, variant, o), .runs = {}, .missing = {}};
    for (int64_t seed : o.seeds)
      for (Outcome const& run : outcomes)
        if (run.trial.variant == variant && run.trial.seed == seed && run.trial.learning_rate == s.learning_rate) {
          if (run.diverged)
            ++s.diverged;
          else
            s.runs.push_back(run);
        }
    if (s.learning_rate == 0) {
      auto const tried = std::count_if(outcomes.begin(), outcomes.end(),
                                       [&](Outcome const& run) { return run.trial.variant == variant; });
      s.missing = tried < int64_t(o.learning_rates.size()) ? "runs are missing" : "diverged at every learning rate";
    }
    v.standings.push_back(std::move(s));
  }
  Standing const& baseline = v.standings[0];
  v.target = o.target > 0 ? o.target : baseline.mean("loss");
  bool unreached = false;
  for (Standing& s : v.standings)
    for (Outcome& run : s.runs) {
      auto const [steps, seconds] = reached(run, v.target);
      run.values["steps-to-target"] = steps;
      run.values["seconds-to-target"] = seconds;
      unreached = unreached || (!run.validation.empty() && steps == run.validation.back()[0]);
    }

  std::vector<double> p;
  for (MeasureRow const& measure : measures()) {
    bool const wanted = o.symptoms.empty()
                            ? measure.better != MeasureRow::neither
                            : std::find(o.symptoms.begin(), o.symptoms.end(), measure.name) != o.symptoms.end();
    if (!wanted) continue;
    for (size_t i = 1; i < v.standings.size(); ++i) {
      std::vector<double> ours, theirs;
      for (Outcome const& run : v.standings[i].runs)
        for (Outcome const& other : baseline.runs)
          if (run.trial.seed == other.trial.seed && !std::isnan(value_of(run, measure.name)) &&
              !std::isnan(value_of(other, measure.name))) {
            ours.push_back(value_of(run, measure.name));
            theirs.push_back(value_of(other, measure.name));
          }
      if (ours.size() < 2) continue;
      auto const n = double(ours.size());
      Comparison c{&measure,
                   i,
                   std::accumulate(theirs.begin(), theirs.end(), 0.0) / n,
                   std::accumulate(ours.begin(), ours.end(), 0.0) / n,
                   optim::paired_difference(ours, theirs),
                   {}};
      p.push_back(c.difference.p);
      v.comparisons.push_back(c);
    }
  }
  auto const decisions = optim::holm(p);
  for (size_t i = 0; i < decisions.size(); ++i) v.comparisons[i].decision = decisions[i];

  int64_t found = 0;
  for (bool const good : {true, false})
    for (Comparison const& c : v.comparisons) {
      if (!c.decision.rejected || c.helps() != good) continue;
      ++found;
      v.sentences.push_back(
          fmt::format("{} {} {}: {} against {} of the baseline, a difference of {} ({:.4g} % interval {} to {}).",
                      v.standings[c.variant].variant.title(), c.helps() ? "helps" : "harms", c.measure->name,
                      value_text(*c.measure, c.mean), value_text(*c.measure, c.baseline),
                      difference_text(*c.measure, c.difference.mean), 100 * (1 - c.decision.level),
                      difference_text(*c.measure, c.difference.mean - c.half_width()),
                      difference_text(*c.measure, c.difference.mean + c.half_width())));
    }
  for (Standing const& s : v.standings) {
    if (!s.missing.empty())
      v.sentences.push_back(fmt::format("{} cannot be judged: {}.", s.variant.title(), s.missing));
    else if (s.diverged > 0)
      v.sentences.push_back(fmt::format("{} diverged on {} of {} seeds, which the other figures leave out.",
                                        s.variant.title(), s.diverged, s.diverged + int64_t(s.runs.size())));
  }
  auto const tests = int64_t(v.comparisons.size());
  if (tests == 0)
    v.sentences.push_back("Nothing can be tested: that takes the same two seeds or more of two variants.");
  else if (found < tests)
    v.sentences.push_back(
        fmt::format("{} of {} could not be told from chance with {}: that is not evidence of no difference.",
                    tests - found, plural(tests, "comparison"), plural(int64_t(o.seeds.size()), "seed")));
  bool const timed = std::any_of(v.comparisons.begin(), v.comparisons.end(),
                                 [](Comparison const& c) { return c.measure->name.ends_with("-to-target"); });
  if (unreached && timed)
    v.sentences.push_back(
        "Runs that did not reach the target loss before the end count with the whole budget in steps-to-target and "
        "seconds-to-target.");
  return v;
}

}  // namespace lab
