// Learning-rate schedules: pure functions of the step, by name; one of them listens to evaluations.
#pragma once

#include <heed/nn/catalogue.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace heed::optim {

class Schedule {
 public:
  virtual ~Schedule() = default;
  /// The rate of a step, counted from 0.
  virtual double at(int64_t step) const = 0;
  /// A validation loss that was found.
  virtual void observe(double /*loss*/) {}
  /// What observe() changed: saved with a run, and given back to resume it.
  virtual std::vector<double> memory() const { return {}; }
  /// An Error where it is of another schedule.
  virtual void remember(std::vector<double> const& memory);
};

/// Where a schedule begins, ends, and in how many steps.
struct ScheduleSpan {
  double peak = 1e-3, floor = 0;
  int64_t steps = 1000;
};

struct ScheduleRow : nn::Entry {
  std::unique_ptr<Schedule> (*make)(nn::Spec const&, ScheduleSpan const&);
  bool warms_up = false;  // begins with a rise of its own
};

/// Families: constant, decay, cycles, warm-up, feedback, composition.
std::vector<ScheduleRow> const& schedules();

/// "cosine", "step:every=100,gamma=0.5"; a+b: one after the other, each for `steps` of its own or an equal share of
/// what is left, "warmup:steps=100+cosine"; a*b: the product of their shares of the peak (sequences bind closer).
/// Before it comes a linear rise of `warmup` steps, unless it begins with one. An Error where a name or setting is
/// unknown.
std::unique_ptr<Schedule> make_schedule(std::string_view text, ScheduleSpan const& span, int64_t warmup = 0);

/// Linear from peak/warmup at step 0 to `peak` at step warmup − 1, then half a cosine to `floor` at step `total`.
inline std::unique_ptr<Schedule> warmup_cosine(double peak, double floor, int64_t warmup, int64_t total) {
  return make_schedule("cosine", {peak, floor, total}, warmup);
}

}  // namespace heed::optim
