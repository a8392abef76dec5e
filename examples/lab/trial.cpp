#include "trial.h"

#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/diagnose/diagnose.h>
#include <heed/nn/diagnose/robustness.h>
#include <heed/nn/regularize/catalogue.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <numeric>

#include "page.h"
#include "run.h"

namespace lab {

using namespace heed;
using optim::TaskBatch;

std::string Variant::title() const { return regularize == "none" ? attention : attention + " with " + regularize; }

std::vector<MeasureRow> const& measures() {
  using enum MeasureRow::Better;
  using enum MeasureRow::Format;
  using enum nn::Rank;
  static std::vector<MeasureRow> const rows = [] {
    std::vector<MeasureRow> list{
        {{"loss", "learning", must, "Shannon, 1948",
          "mean loss of held-out examples at the end: nats a question, or squared error"},
         lower,
         number},
        {{"accuracy", "learning", must, "Arora et al., 2023",
          "share of held-out questions whose likeliest answer is right; of real ones, those within 0.04"},
         higher,
         percent},
        {{"gap", "learning", must, "Vapnik, 1998", "held-out loss less the loss of training examples"}, lower, number},
        {{"steps-to-target", "learning", must, "Dahl et al., 2023",
          "steps until the held-out loss is the baseline's last; the budget where it never is"},
         lower,
         steps},
        {{"seconds-to-target", "learning", must, "Dahl et al., 2023", "the same in seconds of training"},
         lower,
         seconds},
        {{"spikes", "stability", must, "OLMo team, 2024",
          "share of steps whose loss is seven standard deviations or more above the mean of the 128 before"},
         lower,
         percent},
        {{"gradient-variance", "stability", must, "-",
          "variance of ln |g| over the steps after warm-up, before clipping"},
         lower,
         number},
        {{"step-seconds", "cost", must, "-", "mean time of a training step"}, neither, seconds},
        {{"peak-memory", "cost", must, "-", "largest number of bytes in tensors during training"}, neither, bytes},
        {{"noise", "robustness", must, "Belinkov and Bisk, 2018",
          "rise of the loss where a tenth of the tokens that ask nothing is replaced by random ones"},
         lower,
         number},
        {{"removal", "robustness", must, "DeYoung et al., 2020",
          "rise of the loss where the most-attended token is hidden in every layer, less the rise for a random one"},
         lower,
         number},
        {{"sink-rate", "place", must, "Gu et al., 2024",
          "share of heads whose first key gets more than 0.3 on average"},
         lower,
         percent}};
    // Of attention: what diagnose() measures, some with the side to which a cure of over-dependence pulls.
    std::map<std::string_view, MeasureRow::Better> const sides{
        {"entropy-share", higher}, {"effective-count", higher}, {"largest", lower},       {"sink", lower},
        {"overlap", lower},        {"output-rank", higher},     {"rank-residual", higher}};
    for (nn::MeasureRow const& row : nn::measures()) {
      auto const side = sides.find(row.name);
      list.push_back(
          {row, side == sides.end() ? neither : side->second, row.name == "entropy-share" ? percent : number});
    }
    return list;
  }();
  return rows;
}

MeasureRow const* find_measure(std::string_view name) {
  for (MeasureRow const& row : measures())
    if (row.name == name) return &row;
  return nullptr;
}

nlohmann::json to_json(Outcome const& o) {
  nlohmann::json json{{"attention", o.trial.variant.attention},
                      {"regularize", o.trial.variant.regularize},
                      {"seed", o.trial.seed},
                      {"learning_rate", o.trial.learning_rate},
                      {"diverged", o.diverged},
                      {"parameters", o.parameters},
                      {"hidden", o.hidden},
                      {"values", o.values},
                      {"by_head", o.by_head},
                      {"validation", o.validation},
                      {"training", o.training},
                      {"by_distance", o.by_distance},
                      {"maps", nlohmann::json::array()}};
  for (auto const& layer : o.maps) {
    nlohmann::json heads = nlohmann::json::array();
    for (Outcome::Map const& map : layer)
      heads.push_back({{"rows", map.rows}, {"columns", map.columns}, {"pixels", map.pixels}});
    json["maps"].push_back(heads);
  }
  return json;
}

Outcome outcome_from_json(nlohmann::json const& json) {
  Outcome o;
  json.at("attention").get_to(o.trial.variant.attention);
  json.at("regularize").get_to(o.trial.variant.regularize);
  json.at("seed").get_to(o.trial.seed);
  json.at("learning_rate").get_to(o.trial.learning_rate);
  json.at("diverged").get_to(o.diverged);
  json.at("parameters").get_to(o.parameters);
  json.at("hidden").get_to(o.hidden);
  for (auto const& [name, value] : json.at("values").items())
    if (!value.is_null()) o.values[name] = value;  // JSON has no NaN
  for (auto const& [name, layers] : json.at("by_head").items())
    for (auto const& layer : layers) {
      auto& heads = o.by_head[name].emplace_back();
      for (auto const& value : layer) heads.push_back(value.is_null() ? NAN : value.get<double>());
    }
  json.at("validation").get_to(o.validation);
  json.at("training").get_to(o.training);
  json.at("by_distance").get_to(o.by_distance);
  for (auto const& layer : json.at("maps")) {
    auto& heads = o.maps.emplace_back();
    for (auto const& map : layer)
      heads.push_back({map.at("rows"), map.at("columns"), map.at("pixels").get<std::string>()});
  }
  return o;
}

namespace {

constexpr uint64_t batches_seed = 0x6261746368657321, noise_seed = 0x6e6f697365;

nn::GPTConfig model_config(Contest const& contest, Variant const& variant) {
  nn::GPTConfig config = contest.settings.model;
  config.attention = variant.attention;
  config.vocabulary = contest.material->vocabulary;
  config.block = contest.material->length;
  return config;
}

TaskBatch on(TaskBatch batch, Device device) {
  return {batch.inputs.to(device), batch.targets.to(device), batch.distances};
}

/// A model with what trains it.
struct Run {
  Run(Contest const& contest, nn::GPTConfig const& config, Variant const& variant, int64_t seed, double rate)
      : contest(contest), batches(uint64_t(seed) ^ batches_seed) {
    heed::seed(uint64_t(seed));
    model = std::make_unique<Learner>(config, contest.material->features);
    nn::to(*model, contest.device);
    regularizers = std::make_unique<nn::Regularizers>(
        nn::make_regularizers(variant.regularize == "none" ? "" : variant.regularize));
    regularizers->begin(model->whole());
    optimizer = make_optimizer(*model, settings(rate));
  }

  /// With a rate that ends at a tenth of its peak.
  TrainingSettings settings(double rate) const {
    TrainingSettings t = contest.settings.training;
    t.learning_rate = rate;
    t.min_learning_rate = rate / 10;
    return t;
  }

  Tensor next_loss() {
    TaskBatch batch = on(contest.material->batch(contest.settings.training.batch, batches), contest.device);
    regularizers->batch(batch.inputs, batch.targets, batches);
    Learner::Answers const answers = model->answer(batch.inputs, batch.targets);
    Tensor const loss = Learner::loss(answers);
    return contest.material->real_inputs() ? loss : regularizers->loss(loss, answers.given, answers.targets);
  }

  optim::TrainerOptions trainer_options(int64_t steps, double rate) const {
    TrainingSettings const& t = contest.settings.training;
    return {.steps = steps,
            .schedule = make_schedule(settings(rate)),
            .accumulate = t.accumulate,
            .clip = t.clip,
            .evaluate_every = t.evaluate_every};
  }

  Contest const& contest;
  Generator batches;
  std::unique_ptr<Learner> model;
  std::unique_ptr<nn::Regularizers> regularizers;
  std::unique_ptr<optim::Optimizer> optimizer;
};

struct Score {
  double loss = 0, accuracy = 0;
  int64_t asked = 0;
};

/// Of all questions of `batch`; `buckets` gets {questions, loss, right} by powers of two of the distance.
Score score(Learner const& model, TaskBatch const& batch, Device device,
            std::vector<std::array<double, 3>>* buckets = nullptr) {
  NoGrad const off;
  Score sum;
  constexpr int64_t step = 64;
  for (int64_t from = 0; from < batch.inputs.size(0); from += step) {
    TaskBatch const part = rows(batch, from, std::min(from + step, batch.inputs.size(0)));
    Learner::Answers a = model.answer(part.inputs.to(device), part.targets.to(device));
    if (a.given.rank() == 3) a = {a.given.flatten(0, 1), a.targets.flatten()};
    bool const real = a.given.rank() == 1;
    Tensor const losses =
        real ? square(a.given - a.targets) : cross_entropy(a.given, a.targets, {.reduction = Reduction::none});
    Tensor const right = real ? abs(a.given - a.targets) < 0.04 : argmax(a.given, 1) == a.targets;
    auto const loss = losses.to(cpu).to_vector<double>(), hit = right.to(cpu).to_vector<double>();
    sum.loss += std::accumulate(loss.begin(), loss.end(), 0.0);
    sum.accuracy += std::accumulate(hit.begin(), hit.end(), 0.0);
    sum.asked += int64_t(loss.size());
    if (!buckets) continue;
    auto const distances = part.distances.flatten().to_vector<int64_t>();
    auto const targets = part.targets.flatten().to_vector<double>();
    size_t at = 0;
    for (size_t i = 0; i < distances.size(); ++i) {
      if (!real && targets[i] == -100) continue;
      auto const bucket = size_t(std::bit_width(uint64_t(std::max(distances[i], int64_t{0}))));
      if (buckets->size() <= bucket) buckets->resize(bucket + 1);
      auto& [n, l, r] = (*buckets)[bucket];
      n += 1, l += loss[at], r += hit[at];
      ++at;
    }
  }
  sum.loss /= double(sum.asked);
  sum.accuracy /= double(sum.asked);
  return sum;
}

/// `batch` with some tokens replaced by random others; of real inputs, with a little added to all.
TaskBatch noisy(TaskBatch const& batch, Material const& material, double share) {
  Generator generator(noise_seed);
  TaskBatch changed = batch;
  if (material.real_inputs()) {
    changed.inputs = batch.inputs + share * randn(batch.inputs.shape(), Dtype::f32, generator);
    return changed;
  }
  Tensor const other = randint(0, material.vocabulary, batch.inputs.shape(), generator);
  Tensor hit = rand(batch.inputs.shape(), Dtype::f32, generator) < share;
  if (material.is_task()) hit = logical_and(hit, batch.targets == -100);
  changed.inputs = where(hit, other, batch.inputs);
  return changed;
}

/// A map as the report shows it: of the first positions, one byte a weight.
Outcome::Map small_map(Tensor const& map) {
  constexpr int64_t most = 96;
  int64_t const rows = std::min(map.size(0), most), columns = std::min(map.size(1), most);
  Tensor const part = map.slice(0, 0, rows).slice(1, 0, columns).to(cpu).to(Dtype::f32).contiguous();
  std::string bytes;
  for (int64_t i = 0; i < rows * columns; ++i)
    bytes += char(std::lround(255 * std::sqrt(std::clamp(double(part.data<float>()[i]), 0.0, 1.0))));
  return {rows, columns, base64(bytes)};
}

void measure_attention(Learner& model, Contest const& contest, bool keep_maps, Outcome& outcome) {
  NoGrad const off;
  TaskBatch const batch =
      rows(contest.material->validation, 0, std::min(contest.material->validation.inputs.size(0), int64_t{32}));
  auto const forward = [&](TaskBatch const& b) {
    model.answer(b.inputs.to(contest.device), b.targets.to(contest.device));
  };
  nn::Diagnosis const diagnosis = nn::diagnose(model.whole(), [&] { forward(batch); });
  if (diagnosis.layers.empty()) return;
  for (size_t m = 0; m < nn::measures().size(); ++m) {
    std::string const name(nn::measures()[m].name);
    if (nn::measures()[m].family == "heads" && model.gpt.config.heads < 2) continue;  // nothing beside it
    if (double const mean = diagnosis.mean(name); !std::isnan(mean)) outcome.values[name] = mean;
    for (nn::LayerDiagnosis const& layer : diagnosis.layers) outcome.by_head[name].push_back(layer.values[m]);
  }
  outcome.values["sink-rate"] = diagnosis.sink_rate();
  Generator generator(noise_seed);
  nn::DeletionDrop const drop =
      nn::most_attended_drop([&] { return score(model, batch, contest.device).loss; }, generator, nn::Deletion::token);
  if (!std::isnan(drop.without)) outcome.values["removal"] = drop.without - drop.random;
  if (!keep_maps) return;
  for (Tensor const& map : nn::attention_maps([&] { forward(rows(batch, 0, 1)); }, true)) {
    auto& kept = outcome.maps.emplace_back();
    for (int64_t h = 0; h < map.size(1); ++h) kept.push_back(small_map(map.select(0, 0).select(0, h)));
  }
}

double spike_share(std::vector<double> const& losses) {
  size_t const window = std::min(size_t{128}, std::max(losses.size() / 8, size_t{8}));
  if (losses.size() <= window) return NAN;
  size_t spikes = 0;
  for (size_t i = window; i < losses.size(); ++i) {
    double mean = 0, variance = 0;
    for (size_t k = i - window; k < i; ++k) mean += losses[k];
    mean /= double(window);
    for (size_t k = i - window; k < i; ++k) variance += (losses[k] - mean) * (losses[k] - mean);
    if (losses[i] > mean + 7 * std::sqrt(variance / double(window - 1))) ++spikes;
  }
  return double(spikes) / double(losses.size() - window);
}

double variance(std::vector<double> const& values) {
  if (values.size() < 2) return NAN;
  double const mean = std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
  double sum = 0;
  for (double v : values) sum += (v - mean) * (v - mean);
  return sum / double(values.size() - 1);
}

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Matched match_parameters(Contest const& contest, Variant const& variant) {
  Matched result{model_config(contest, variant), 0};
  nn::GPTConfig& config = result.config;
  auto const count = [&](int64_t hidden) {
    config.hidden = hidden;
    Learner model(config, contest.material->features);
    return nn::count_parameters(model);
  };
  int64_t const hidden = config.hidden ? config.hidden : 4 * config.dim, there = count(hidden);
  result.parameters = there;
  if (contest.target_parameters == 0 || contest.target_parameters == there) return result;
  double const slope = double(count(hidden + 1) - there);  // parameters are linear in the hidden width
  int64_t const best = std::max(hidden + std::llround(double(contest.target_parameters - there) / slope), 1LL);
  result.parameters = count(best);
  return result;
}

Outcome run_trial(Contest const& contest, Trial const& trial, bool maps,
                  std::function<void(optim::StepReport const&)> const& on_step) {
  Matched const matched = match_parameters(contest, trial.variant);
  Outcome outcome;
  outcome.trial = trial;
  outcome.hidden = matched.config.hidden;
  TrainingSettings const& t = contest.settings.training;
  Material const& material = *contest.material;
  Run run(contest, matched.config, trial.variant, trial.seed, trial.learning_rate);
  outcome.parameters = nn::count_parameters(*run.model);

  std::vector<double> losses, gradients;
  double evaluating = 0;
  auto const start = Clock::now();
  reset_peak_memory();
  optim::Trainer trainer(
      run.model->whole(), *run.optimizer, run.trainer_options(t.steps, trial.learning_rate),
      [&] { return run.next_loss(); },
      [&] {
        auto const from = Clock::now();
        double const loss = score(*run.model, material.validation, contest.device).loss;
        evaluating += seconds_since(from);
        return loss;
      });
  trainer.regularize(*run.regularizers);
  trainer.draw_from(run.batches);
  trainer.on_step([&](optim::StepReport const& report) {
    losses.push_back(report.loss);
    if (report.step > t.warmup && report.gradient_norm > 0) gradients.push_back(std::log(report.gradient_norm));
    if (report.evaluated)
      outcome.validation.push_back({double(report.step), seconds_since(start) - evaluating, report.validation});
    on_step(report);
    return true;
  });
  optim::TrainingState state;
  try {
    trainer.run(state);
  } catch (Error const& error) {
    if (std::string_view(error.what()).find("the loss became") == std::string_view::npos) throw;
    outcome.diverged = true;
    return outcome;
  }
  double const trained = seconds_since(start) - evaluating;
  outcome.values["peak-memory"] = double(memory_statistics().peak);
  outcome.values["step-seconds"] = trained / double(t.steps);
  outcome.values["spikes"] = spike_share(losses);
  outcome.values["gradient-variance"] = variance(gradients);
  size_t const stride = std::max(losses.size() / 200, size_t{1});
  for (size_t i = 0; i < losses.size(); i += stride) {
    size_t const to = std::min(i + stride, losses.size());
    double const sum = std::accumulate(losses.begin() + int64_t(i), losses.begin() + int64_t(to), 0.0);
    outcome.training.emplace_back(double(to), sum / double(to - i));
  }

  nn::eval(run.model->whole());
  run.optimizer->evaluating(true);
  run.regularizers->evaluating(run.model->whole(), true);
  std::vector<std::array<double, 3>> buckets;
  Score const held_out = score(*run.model, material.validation, contest.device, &buckets);
  outcome.values["loss"] = held_out.loss;
  outcome.values["accuracy"] = held_out.accuracy;
  outcome.values["gap"] = held_out.loss - score(*run.model, material.seen, contest.device).loss;
  outcome.values["noise"] =
      score(*run.model, noisy(material.validation, material, 0.1), contest.device).loss - held_out.loss;
  for (size_t i = 0; i < buckets.size(); ++i)
    if (auto const [n, loss, right] = buckets[i]; n > 0)
      outcome.by_distance.push_back({std::pow(2.0, double(i)) - 1, loss / n, right / n});
  measure_attention(*run.model, contest, maps, outcome);
  run.regularizers->evaluating(run.model->whole(), false);
  run.optimizer->evaluating(false);
  return outcome;
}

std::pair<double, double> time_trial(Contest const& contest, Variant const& variant) {
  Matched const matched = match_parameters(contest, variant);
  Run run(contest, matched.config, variant, 0, 1e-4);
  constexpr int64_t steps = 4;
  optim::TrainerOptions options = run.trainer_options(steps, 1e-4);
  options.evaluate_every = 0;
  optim::Trainer trainer(run.model->whole(), *run.optimizer, options, [&] { return run.next_loss(); });
  trainer.regularize(*run.regularizers);
  trainer.draw_from(run.batches);
  double first = 0, last = 0;
  trainer.on_step([&](optim::StepReport const& report) {
    if (report.step == 1) first = report.seconds;
    last = report.seconds;
    return true;
  });
  optim::TrainingState state;
  trainer.run(state);
  nn::eval(run.model->whole());
  auto const start = Clock::now();
  score(*run.model, contest.material->validation, contest.device);
  return {(last - first) / double(steps - 1), seconds_since(start)};
}

}  // namespace lab
