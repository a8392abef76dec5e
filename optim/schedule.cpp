#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/optim/pointwise.h>
#include <heed/optim/schedules.h>

#include <charconv>
#include <limits>

namespace heed::optim {
namespace {

using nn::Rank;
using nn::Spec;

/// Settings that each are in range may still make no curve.
void check_rates(std::string_view name, Schedule const& schedule, int64_t steps) {
  for (int64_t const step : {int64_t{0}, steps / 2, steps}) {
    double const rate = schedule.at(step);
    check(std::isfinite(rate) && rate >= 0, name, [&] {
      return Complaint{fmt::format("these settings give a rate of {} at step {}", rate, step), "leave them out"};
    });
  }
}

/// A curve over a span.
template <class Formula>
class Pure final : public Schedule {
 public:
  Pure(Formula formula, ScheduleSpan const& span) : formula_(std::move(formula)), span_(span) {}
  double at(int64_t step) const override {
    double const t = double(step), T = double(span_.steps);
    return formula_.at({t, T, t < T ? t / T : 1, span_.peak, span_.floor});
  }

 private:
  Formula formula_;
  ScheduleSpan span_;
};

template <class Formula>
std::unique_ptr<Schedule> make(Spec const& spec, ScheduleSpan const& span) {
  auto formula = nn::configured<Formula>(spec);
  check_settings(Formula::name, formula);
  if constexpr (requires { formula.require(); }) formula.require();
  auto made = std::make_unique<Pure<Formula>>(std::move(formula), span);
  check_rates(Formula::name, *made, span.steps);
  return made;
}

template <class Formula>
consteval ScheduleRow curve(std::string_view family, std::string_view source, std::string_view summary,
                            bool warms_up = false) {
  return {{Formula::name, family, Rank::must, source, summary, nn::options_of<Formula>}, make<Formula>, warms_up};
}

struct PlateauSettings {
  double factor = 0.1, threshold = 1e-4;
  int64_t patience = 10, cooldown = 0;
  void visit(nn::ConfigVisitor& v) {
    v.field("factor", factor, "of the rate after a plateau");
    v.field("threshold", threshold, "share by which a loss must be better to count");
    v.field("patience", patience, "evaluations without a better loss that are borne");
    v.field("cooldown", cooldown, "evaluations after a fall that do not count");
  }
};

/// η·factor^(plateaus so far), not below f; a plateau is more than `patience` evaluations without a better loss.
class Plateau final : public Schedule {
 public:
  Plateau(PlateauSettings const& settings, ScheduleSpan const& span)
      : settings_(settings), span_(span), rate_(span.peak) {}
  double at(int64_t) const override { return rate_; }
  void observe(double loss) override {
    bool const better = loss < best_ * (1 - settings_.threshold);
    if (better) best_ = loss;
    bad_ = better ? 0 : bad_ + 1;
    if (cooling_ > 0) --cooling_, bad_ = 0;
    if (bad_ > double(settings_.patience)) {
      rate_ = std::max(span_.floor, rate_ * settings_.factor);
      cooling_ = double(settings_.cooldown);
      bad_ = 0;
    }
  }
  std::vector<double> memory() const override { return {rate_, best_, bad_, cooling_}; }
  void remember(std::vector<double> const& memory) override {
    check(memory.size() == 4, "plateau", [&] {
      return Complaint{fmt::format("expected 4 numbers, got {}", memory.size()), "resume with the same schedule"};
    });
    rate_ = memory[0], best_ = memory[1], bad_ = memory[2], cooling_ = memory[3];
  }

 private:
  PlateauSettings settings_;
  ScheduleSpan span_;
  double rate_, best_ = std::numeric_limits<double>::max(), bad_ = 0, cooling_ = 0;
};

std::unique_ptr<Schedule> make_plateau(Spec const& spec, ScheduleSpan const& span) {
  auto settings = nn::configured<PlateauSettings>(spec);
  check_settings("plateau", settings);
  return std::make_unique<Plateau>(settings, span);
}

/// Several schedules as one: their memories one after the other.
class Composed : public Schedule {
 public:
  void observe(double loss) override {
    for (auto const& part : parts) part->observe(loss);
  }
  std::vector<double> memory() const override {
    std::vector<double> all;
    for (auto const& part : parts) {
      auto const own = part->memory();
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  }
  void remember(std::vector<double> const& memory) override {
    check(memory.size() == this->memory().size(), "schedule", [&] {
      return Complaint{fmt::format("expected {} numbers, got {}", this->memory().size(), memory.size()),
                       "resume with the same schedule"};
    });
    auto from = memory.begin();
    for (auto const& part : parts) {
      auto const to = from + int64_t(part->memory().size());
      part->remember({from, to});
      from = to;
    }
  }
  std::vector<std::unique_ptr<Schedule>> parts;
};

struct Sequential final : Composed {
  double at(int64_t step) const override {
    size_t i = parts.size() - 1;
    while (i > 0 && step < from[i]) --i;
    return parts[i]->at(step - from[i]);
  }
  std::vector<int64_t> from;
};

struct Chained final : Composed {
  double at(int64_t step) const override {
    double rate = peak;
    for (auto const& part : parts) rate *= part->at(step);
    return rate;
  }
  double peak = 1;
};

/// The rows that are no schedules of their own.
std::unique_ptr<Schedule> written(Spec const& spec, ScheduleSpan const&) {
  fail(spec.name, {"it is written between other schedules: a+b one after the other, a*b as a product",
                   "write for instance warmup:steps=100+cosine, or warmup:steps=100*exponential"});
}

/// Takes the setting `steps` of a part out of its Spec; 0 where it has none.
int64_t take_steps(Spec& spec) {
  for (size_t i = 0; i < spec.options.size(); ++i) {
    auto const& [name, text] = spec.options[i];
    if (name != "steps") continue;
    int64_t steps = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), steps);
    check(error == std::errc() && end == text.data() + text.size() && steps >= 0, spec.name, [&] {
      return Complaint{fmt::format("expected an integer of 0 or more for 'steps', got '{}'", text),
                       "leave it out for the steps that are left"};
    });
    spec.options.erase(spec.options.begin() + int64_t(i));
    return steps;
  }
  return 0;
}

std::unique_ptr<Schedule> sequence(std::string_view text, ScheduleSpan const& span, int64_t warmup) {
  std::vector<Spec> specs = nn::parse_specs(text);
  auto const row = [](Spec const& spec) -> ScheduleRow const& {
    return nn::find_row("schedule", schedules(), spec.name);
  };
  if (warmup > 0 && !row(specs[0]).warms_up)
    specs.insert(specs.begin(), {"warmup", {{"steps", fmt::format("{}", warmup)}}});
  std::vector<int64_t> lengths;
  int64_t left = span.steps, sharing = 0;
  for (Spec& spec : specs) {
    lengths.push_back(take_steps(spec));
    left -= lengths.back();
    sharing += lengths.back() == 0;
  }
  auto parts = std::make_unique<Sequential>();
  int64_t from = 0;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (lengths[i] == 0) {
      lengths[i] = std::max(int64_t{0}, left / sharing);
      left -= lengths[i], --sharing;
    }
    parts->from.push_back(from);
    parts->parts.push_back(row(specs[i]).make(specs[i], {span.peak, span.floor, lengths[i]}));
    from += lengths[i];
  }
  if (parts->parts.size() == 1) return std::move(parts->parts[0]);
  return parts;
}

}  // namespace

void Schedule::remember(std::vector<double> const& memory) {
  check(memory.empty(), "schedule", [&] {
    return Complaint{fmt::format("expected no numbers, got {}", memory.size()), "resume with the same schedule"};
  });
}

double MultistepSchedule::at(Curve const& c) const {
  double rate = c.peak;
  std::string_view rest = milestones;
  while (!rest.empty()) {
    std::string_view const one = rest.substr(0, rest.find('/'));
    double step = 0;
    auto const [end, error] = std::from_chars(one.data(), one.data() + one.size(), step);
    check(error == std::errc() && end == one.data() + one.size() && step >= 0, name, [&] {
      return Complaint{fmt::format("expected numbers joined by '/' for 'milestones', got '{}'", milestones),
                       "write for instance milestones=0.5/0.75"};
    });
    if (c.t >= (step < 1 ? std::round(step * c.T) : step)) rate *= gamma;
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
  }
  return std::max(c.floor, rate);
}

void WsdSchedule::require() const {
  check(shape == "linear" || shape == "cosine" || shape == "sqrt", name, [&] {
    return Complaint{fmt::format("expected linear, cosine or sqrt for 'shape', got '{}'", shape), "leave it out"};
  });
}

void ChebyshevSchedule::require() const {
  check(period > 0 && (period & (period - 1)) == 0, name, [&] {
    return Complaint{fmt::format("expected a power of two for 'period', got {}", period), "use 16"};
  });
}

std::vector<ScheduleRow> const& schedules() {
  static std::vector<ScheduleRow> const rows{
      curve<ConstantSchedule>("constant", "Robbins and Monro, 1951", "η"),
      curve<StepSchedule>("decay", "Krizhevsky et al., 2012", "η·γ^⌊t/every⌋"),
      curve<MultistepSchedule>("decay", "He et al., 2016", "η·γ^(milestones passed)"),
      curve<ExponentialSchedule>("decay", "Bottou, 2012", "η·γ^t"),
      curve<LinearSchedule>("decay", "Devlin et al., 2019", "f + (η − f)(1 − u), u the share of steps done"),
      curve<PolynomialSchedule>("decay", "Liu et al., 2015", "f + (η − f)(1 − u)^p"),
      curve<CosineSchedule>("decay", "Loshchilov and Hutter, 2017", "f + (η − f)(1 + cos πu)/2"),
      curve<CosineRestartsSchedule>("cycles", "Loshchilov and Hutter, 2017",
                                    "cosines, each as long as the last or longer"),
      curve<WarmupSchedule>("warm-up", "Goyal et al., 2017", "η·(t + 1)/T, then η", true),
      curve<OneCycleSchedule>("cycles", "Smith and Topin, 2019",
                              "η/25 up to η, then down to η/250,000, by half cosines", true),
      curve<CyclicSchedule>("cycles", "Smith, 2017", "between f and η in straight lines"),
      {{"plateau", "feedback", Rank::must, "Krizhevsky et al., 2012; PyTorch",
        "η·factor^(plateaus of the validation loss)", nn::options_of<PlateauSettings>},
       make_plateau},
      curve<InverseSqrtSchedule>("decay", "Shazeer and Stern, 2018", "η/√(1 + t/scale)"),
      curve<NoamSchedule>("decay", "Vaswani et al., 2017", "η·min((t + 1)/w, √(w/(t + 1)))", true),
      curve<WsdSchedule>("decay", "Hu et al., 2024", "η, and at the end a fall to f: warm-up, stable, decay"),
      curve<RexSchedule>("decay", "Chen et al., 2022", "f + (η − f)(1 − u)/(1 − u/2)"),
      curve<ChebyshevSchedule>("cycles", "Agarwal et al., 2021",
                               "inverse Chebyshev nodes between 1/η and 1/f, fractal order"),
      curve<TanhSchedule>("decay", "Hsueh et al., 2019", "f + (η − f)(1 − tanh(−6 + 9u))/2"),
      {{"sequential", "composition", Rank::must, "PyTorch", "a+b: one after the other, each with its own `steps`"},
       written},
      {{"chained", "composition", Rank::must, "PyTorch", "a*b: the product of their shares of the peak"}, written},
  };
  return rows;
}

std::unique_ptr<Schedule> make_schedule(std::string_view text, ScheduleSpan const& span, int64_t warmup) {
  check(std::isfinite(span.peak) && span.peak >= 0 && span.floor >= 0 && span.floor <= span.peak && span.steps >= 1 &&
            warmup >= 0,
        "schedule", [&] {
          return Complaint{
              fmt::format("expected 0 ≤ floor ≤ peak, steps ≥ 1 and warm-up ≥ 0, got floor {}, peak {}, {} "
                          "steps and a warm-up of {}",
                          span.floor, span.peak, span.steps, warmup),
              "let the floor be below the peak"};
        });
  if (text.find('*') == text.npos) return sequence(text, span, warmup);
  auto product = std::make_unique<Chained>();
  product->peak = span.peak;
  ScheduleSpan const share{1, span.peak > 0 ? span.floor / span.peak : 0, span.steps};
  for (bool first = true;; first = false) {
    size_t const star = text.find('*');
    product->parts.push_back(sequence(text.substr(0, star), share, first ? warmup : 0));
    if (star == text.npos) return product;
    text.remove_prefix(star + 1);
  }
}

}  // namespace heed::optim
