// heed-lab compare
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/file.h>
#include <heed/engine/parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>

#include "compare_report.h"
#include "journal.h"
#include "progress.h"
#include "run.h"
#include "shared_journal.h"

namespace lab {
namespace {

using namespace heed;

struct CompareCommand {
  std::string preset = "compare", attention = "multi-head", regularize = "none", directory = "runs/compare",
              select = "first", symptoms, shard, device = "cpu";
  std::vector<std::string> merge;
  std::vector<double> learning_rates;
  MaterialOptions material;
  int64_t seeds = 3, threads = 0;
  double target = 0;
  bool unmatched = false, json = false;
  Settings settings;
};

/// Fields that a trial, the material or another option says.
std::set<std::string> const not_options{"attention",  "learning_rate",    "min_learning_rate", "seed", "patience",
                                        "regularize", "checkpoint_every", "validation_share",  "block"};

/// "A,B:x=1,y=2,C" in three: a part with '=' before any ':' goes on with the settings before it.
std::vector<std::string> split_specs(std::string const& text) {
  std::vector<std::string> list;
  size_t from = 0;
  while (from <= text.size()) {
    size_t const end = std::min(text.find(',', from), text.size());
    std::string const part = text.substr(from, end - from);
    size_t const equals = part.find('='), colon = part.find(':');
    if (!list.empty() && equals != part.npos && (colon == part.npos || equals < colon))
      list.back() += "," + part;
    else
      list.push_back(part);
    from = end + 1;
  }
  return list;
}

void expect(bool ok, std::string const& problem, std::string const& remedy = "see heed-lab compare --help") {
  check(ok, "compare", [&] { return Complaint{problem, remedy}; });
}

/// Which of how many machines this is, from "2/3".
std::pair<int64_t, int64_t> parse_shard(std::string const& text) {
  if (text.empty()) return {1, 1};
  int64_t i = 0, n = 0;
  char const* const end = text.data() + text.size();
  auto const first = std::from_chars(text.data(), end, i);
  bool ok = first.ec == std::errc() && first.ptr != end && *first.ptr == '/';
  if (ok) {
    auto const second = std::from_chars(first.ptr + 1, end, n);
    ok = second.ec == std::errc() && second.ptr == end && i >= 1 && i <= n;
  }
  expect(ok, fmt::format("expected --shard i/n with i from 1 to n, got '{}'", text),
         "on the second of three machines: 2/3");
  return {i, n};
}

std::vector<std::string> symptoms_of(CompareCommand const& c) {
  std::vector<std::string> names;
  if (!c.symptoms.empty()) names = split_specs(c.symptoms);
  for (std::string const& name : names) {
    MeasureRow const& row = nn::find_row("measure", measures(), name);
    expect(row.better != MeasureRow::neither, fmt::format("'{}' has no better side to be tested", name));
  }
  return names;
}

void check_settings(CompareCommand const& c) {
  TrainingSettings const& t = c.settings.training;
  auto at_least = [](char const* name, double value, double least) {
    expect(value >= least, fmt::format("expected {} of {} or more, got {}", name, least, value));
  };
  at_least("--steps", double(t.steps), 1);
  at_least("--batch", double(t.batch), 1);
  at_least("--warmup", double(t.warmup), 0);
  at_least("--weight-decay", t.weight_decay, 0);
  at_least("--seeds", double(c.seeds), 1);
  at_least("--threads", double(c.threads), 0);
  at_least("--target", c.target, 0);
  expect(c.select == "first" || c.select == "all", fmt::format("expected --select first or all, got '{}'", c.select));
  expect(!c.learning_rates.empty() && std::all_of(c.learning_rates.begin(), c.learning_rates.end(),
                                                  [](double rate) { return rate > 0 && std::isfinite(rate); }),
         "expected positive --learning-rates");
}

void make_directory(std::string const& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  expect(!error && std::filesystem::is_directory(directory),
         fmt::format("the directory '{}' cannot be made: {}", directory, error.message()), "choose another with --out");
}

/// What all runs share, as the journal begins.
nlohmann::json head_of(CompareCommand const& c, Material const& material, Variant const& baseline, int64_t parameters) {
  nlohmann::json settings = to_json(c.settings);
  for (std::string const& name : not_options)
    for (auto const* group : {"model", "training"}) settings[group].erase(name);
  settings["model"].erase("vocabulary");
  return {{"heed", "compare 1"},
          {"learned", material.identity},
          {"title", material.title},
          {"text", !material.is_task()},
          {"real", material.real_inputs()},
          {"length", material.length},
          {"evaluation", material.validation.inputs.size(0)},
          {"model", settings["model"]},
          {"training", settings["training"]},
          {"learning_rates", c.learning_rates},
          {"select", c.select},
          {"baseline", {{"attention", baseline.attention}, {"regularize", baseline.regularize}}},
          {"parameters", parameters}};
}

void print_table(Verdict const& v, bool perplexity) {
  std::vector<std::vector<std::string>> table{{"variant", "rate", "parameters"}};
  std::vector<MeasureRow const*> shown;
  for (MeasureRow const& m : measures())
    if (std::any_of(v.standings.begin(), v.standings.end(),
                    [&](Standing const& s) { return !std::isnan(s.mean(m.name)); }))
      shown.push_back(&m);
  for (MeasureRow const* m : shown) {
    table[0].emplace_back(m->name);
    if (perplexity && m->name == "loss") table[0].emplace_back("exp loss");
  }
  for (Standing const& s : v.standings) {
    auto& row = table.emplace_back(std::vector{s.variant.title()});
    if (s.runs.empty()) {
      row.push_back(s.missing.empty() ? "diverged" : s.missing);
      continue;
    }
    row.push_back(fmt::format("{:g}", s.learning_rate));
    row.push_back(fmt::format("{}", s.runs[0].parameters));
    for (MeasureRow const* m : shown) {
      row.push_back(value_text(*m, s.mean(m->name)));
      if (perplexity && m->name == "loss") row.push_back(fmt::format("{:.3g}", std::exp(s.mean("loss"))));
    }
  }
  // One line a measure: there are more of them than variants, as a rule.
  std::vector<size_t> width(table.size());
  for (size_t i = 0; i < table.size(); ++i)
    for (auto const& cell : table[i]) width[i] = std::max(width[i], cell.size());
  for (size_t k = 0; k < table[0].size(); ++k) {
    for (size_t i = 0; i < table.size(); ++i) {
      std::string const cell = k < table[i].size() ? table[i][k] : "";
      fmt::print("{}", i == 0 ? fmt::format("{:<{}}", cell, width[0]) : fmt::format("  {:>{}}", cell, width[i]));
    }
    fmt::print("\n");
  }
}

void print_json(Verdict const& v) {
  nlohmann::json json{
      {"variants", nlohmann::json::array()}, {"comparisons", nlohmann::json::array()}, {"verdict", v.sentences}};
  for (Standing const& s : v.standings) {
    nlohmann::json row{{"attention", s.variant.attention},
                       {"regularize", s.variant.regularize},
                       {"learning_rate", s.learning_rate},
                       {"runs", s.runs.size()},
                       {"diverged", s.diverged}};
    for (MeasureRow const& m : measures())
      if (double const mean = s.mean(m.name); !std::isnan(mean)) row["values"][m.name] = mean;
    json["variants"].push_back(row);
  }
  for (Comparison const& c : v.comparisons)
    json["comparisons"].push_back({{"measure", c.measure->name},
                                   {"variant", v.standings[c.variant].variant.title()},
                                   {"difference", c.difference.mean},
                                   {"half_width", c.half_width()},
                                   {"level", c.decision.level},
                                   {"adjusted_p", c.decision.adjusted},
                                   {"found", c.decision.rejected}});
  fmt::print("{}\n", json.dump(2));
}

void conclude(CompareCommand const& c, Journal const& journal, JudgeOptions const& options) {
  Verdict const v = judge(journal.outcomes(), options);
  std::string const report = c.directory + "/report.html";
  write_comparison(report, journal.head(), journal.outcomes(), options, v);
  if (c.json) {
    print_json(v);
    return;
  }
  print_table(v, !journal.head()["real"].get<bool>());
  fmt::print("\n");
  for (std::string const& sentence : v.sentences) fmt::print("* {}\n", sentence);
  fmt::print("\nreport {}\n", report);
}

/// The journals of several machines as one, and what they say together.
void merge(CompareCommand const& c) {
  std::vector<Journal> parts;
  for (std::string const& directory : c.merge) parts.push_back(Journal::read(journal_of(directory)));
  make_directory(c.directory);
  Journal whole(journal_of(c.directory), parts[0].head());
  for (size_t i = 0; i < parts.size(); ++i) {
    check_same(whole.head(), parts[i].head(), journal_of(c.merge[i]));
    for (Outcome const& outcome : parts[i].outcomes())
      if (!whole.find(outcome.trial)) whole.append(outcome);
  }
  auto const& head = whole.head();
  JudgeOptions options{.variants = {{head["baseline"]["attention"], head["baseline"]["regularize"]}},
                       .learning_rates = head["learning_rates"].get<std::vector<double>>(),
                       .seeds = {},
                       .select_on_all = head["select"] == "all",
                       .target = c.target,
                       .symptoms = symptoms_of(c)};
  std::set<int64_t> seeds;
  for (Outcome const& o : whole.outcomes()) {
    if (std::find(options.variants.begin(), options.variants.end(), o.trial.variant) == options.variants.end())
      options.variants.push_back(o.trial.variant);
    seeds.insert(o.trial.seed);
  }
  options.seeds.assign(seeds.begin(), seeds.end());
  expect(!options.seeds.empty(), "the journals hold no run", "let compare finish one first");
  conclude(c, whole, options);
}

/// What the ranks of one comparison share of a machine.
Device divide_machine(CompareCommand const& c) {
  distributed::Environment const here = distributed::environment();
  if (c.threads > 0)
    set_thread_count(int(c.threads));
  else if (here.local_size > 1 && !std::getenv("HEED_THREADS"))
    set_thread_count(std::max(thread_count() / here.local_size, 1));
  bool const several = here.local_size > 1 && c.device == "cuda";
  return parse_device(several ? fmt::format("cuda:{}", here.local_rank) : c.device);
}

void run_on(CompareCommand const& c, distributed::Communicator& ranks) {
  auto const [shard, shards] = parse_shard(c.shard);
  expect(shards == 1 || ranks.size() == 1, "--shard parts what mpirun parts as well", "use one of the two");
  bool const first = ranks.rank() == 0;

  JudgeOptions options{.variants = {},
                       .learning_rates = c.learning_rates,
                       .seeds = {},
                       .select_on_all = c.select == "all",
                       .target = c.target,
                       .symptoms = symptoms_of(c)};
  for (std::string const& attention : split_specs(c.attention))
    for (std::string const& regularize : split_specs(c.regularize)) options.variants.push_back({attention, regularize});
  for (int64_t seed = 1; seed <= c.seeds; ++seed) options.seeds.push_back(seed);
  for (size_t i = 0; i < options.variants.size(); ++i)
    expect(std::find(options.variants.begin(), options.variants.begin() + int64_t(i), options.variants[i]) ==
               options.variants.begin() + int64_t(i),
           fmt::format("'{}' is named twice", options.variants[i].title()), "name each once");

  Material const material(c.material);
  Contest contest{c.settings, divide_machine(c), &material, 0};
  Matched const reference = match_parameters(contest, options.variants[0]);
  if (!c.unmatched) contest.target_parameters = reference.parameters;

  // What is to do: each variant at every rate on the seeds that decide, then the other seeds at its best one.
  std::vector<Variant> mine;
  for (size_t i = 0; i < options.variants.size(); ++i)
    if (int64_t(i) % shards == shard - 1) mine.push_back(options.variants[i]);
  Tensor speed = zeros({int64_t(mine.size()), 2}, Dtype::f64);  // seconds of a step, of an evaluation
  for (size_t i = 0; i < mine.size(); ++i) {
    Variant const& variant = mine[i];
    if (int(i) % ranks.size() != ranks.rank()) continue;
    Matched const matched = match_parameters(contest, variant);
    double const off = std::abs(double(matched.parameters) / double(reference.parameters) - 1);
    fmt::print(stderr, "{}: {} parameters with feed-forward layers of {}{}\n", variant.title(), matched.parameters,
               matched.config.hidden,
               c.unmatched || off <= 0.01 ? "" : fmt::format(", {:.1f} % off what all should have", 100 * off));
    auto const [step, evaluation] = time_trial(contest, variant);
    speed.data<double>()[2 * i] = step, speed.data<double>()[2 * i + 1] = evaluation;
  }
  ranks.all_reduce(speed);
  make_directory(c.directory);
  SharedJournal shared(ranks, c.directory, head_of(c, material, options.variants[0], contest.target_parameters));
  Journal const& journal = shared.journal();

  TrainingSettings const& t = c.settings.training;
  int64_t const rates = int64_t(c.learning_rates.size()), deciding = options.select_on_all ? c.seeds : 1;
  int64_t const each = rates * deciding + (c.seeds - deciding), total = each * int64_t(mine.size());
  double const evaluations = t.evaluate_every > 0 ? double(t.steps / t.evaluate_every) + 3 : 4;
  auto const cost = [&](Variant const& variant) {
    auto const i = size_t(std::find(mine.begin(), mine.end(), variant) - mine.begin());
    return double(t.steps) * speed.data<double>()[2 * i] + evaluations * speed.data<double>()[2 * i + 1];
  };
  int64_t done = 0;
  double seconds = 0;
  for (Variant const& variant : mine) {
    int64_t const there = std::min(
        each, int64_t(std::count_if(journal.outcomes().begin(), journal.outcomes().end(), [&](Outcome const& o) {
          return o.trial.variant == variant && o.trial.seed <= c.seeds;
        })));
    done += there;
    seconds += double(each - there) * cost(variant);
  }
  if (first)
    fmt::print(
        stderr,
        "{} variant{} × ({} learning rates on {} + {} more seed{} at the best) = {} runs of {} steps{}; {} done, the "
        "others take about {}\n",
        mine.size(), mine.size() == 1 ? "" : "s", rates, options.select_on_all ? "every seed" : "seed 1",
        c.seeds - deciding, c.seeds - deciding == 1 ? "" : "s", total, t.steps,
        ranks.size() > 1 ? fmt::format(" on {} ranks", ranks.size()) : "", done,
        clock_text(seconds / double(ranks.size())));

  Progress progress(t.batch * material.length, 0);
  auto const start = std::chrono::steady_clock::now();
  int64_t finished = 0;
  // Those of `trials` that are not done, each by one rank.
  auto const train = [&](std::vector<Trial> const& trials) {
    std::vector<Trial> left;
    std::vector<double> costs;
    for (Trial const& trial : trials)
      if (!journal.find(trial)) left.push_back(trial), costs.push_back(cost(trial.variant));
    std::vector<int> const share = distributed::shares_of(costs, ranks.size());
    int64_t const here = finished + std::count(share.begin(), share.end(), ranks.rank());
    for (size_t i = 0; i < left.size(); ++i) {
      if (share[i] != ranks.rank()) continue;
      Trial const& trial = left[i];
      std::string const label = fmt::format("run {}/{} {} seed {} rate {:g}", finished + 1, here, trial.variant.title(),
                                            trial.seed, trial.learning_rate);
      Outcome const outcome = run_trial(contest, trial, trial.seed == 1, [&](optim::StepReport const& step) {
        if (!first) return;
        optim::StepReport all = step;
        all.step = finished * t.steps + step.step;
        all.steps = here * t.steps;
        all.evaluated = false;
        all.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        progress.show(all, label, step.step == 1);
      });
      ++finished;
      if (outcome.diverged) {
        progress.finish();
        fmt::print(stderr, "{}: the loss stopped being finite\n", label);
      }
      shared.append(outcome);
    }
    shared.meet();
  };
  std::vector<Trial> trials;
  for (int64_t seed : options.seeds)
    for (double rate : c.learning_rates)
      for (Variant const& variant : mine)
        if (seed == 1 || options.select_on_all) trials.push_back({variant, seed, rate});
  train(trials);
  trials.clear();
  for (int64_t seed : options.seeds)
    for (Variant const& variant : mine)
      if (double const rate = best_rate(journal.outcomes(), variant, options); rate > 0)
        trials.push_back({variant, seed, rate});
  train(trials);
  progress.finish();
  shared.finish();
  if (!first) return;

  if (shards > 1) {
    options.variants = mine;
    fmt::print("journal {}; when all shards are done: heed-lab compare --merge {} … --out DIR\n",
               journal_of(c.directory), c.directory);
    if (mine.empty()) return;
  }
  conclude(c, journal, options);
}

void run(CompareCommand const& c) {
  check_settings(c);
  if (!c.merge.empty()) return merge(c);
  // Ranks meet when each has done its share of the runs: one may wait for as long as a run takes.
  auto const ranks = distributed::connect({.timeout = 1e6});
  distributed::run(*ranks, [&](distributed::Communicator& r) { run_on(c, r); });
}

}  // namespace

void add_compare(CLI::App& app, int argc, char const* const* argv) {
  auto const c = std::make_shared<CompareCommand>();
  CLI::App* const compare = app.add_subcommand(
      "compare", "Train kinds of attention and regularisers on a text or a task, and say which cured what");
  c->preset = given_preset(argc, argv, c->preset);
  c->settings = preset(c->preset);
  for (double factor : {0.3, 1.0, 3.0})  // as they are read
    c->learning_rates.push_back(std::stod(fmt::format("{:g}", factor * c->settings.training.learning_rate)));
  compare
      ->add_option("--attention", c->attention,
                   "Kinds with their settings, joined by commas (heed-lab list attention); the first is the baseline")
      ->capture_default_str();
  compare
      ->add_option("--regularize", c->regularize,
                   "Regularisers, each combined with each kind (heed-lab list regularizer); none: without")
      ->capture_default_str();
  compare->add_option("--task", c->material.task, "What to learn: heed-lab list task, as mqar:pairs=8,length=64");
  compare->add_option("--text", c->material.text, "or a text file, UTF-8 or bytes");
  compare->add_option("--block", c->material.block, "Context length of a text, tokens; a task has its own")
      ->capture_default_str();
  compare
      ->add_option("--validation-share", c->material.validation_share, "Part of a text kept for validation, at its end")
      ->capture_default_str();
  compare
      ->add_option("--examples", c->material.examples,
                   "Training examples of a task, seen again and again; 0: always fresh ones")
      ->capture_default_str();
  compare->add_option("--evaluation", c->material.evaluation, "Held-out examples of an evaluation")
      ->capture_default_str();
  compare
      ->add_option("--out", c->directory, "Directory for journal.jsonl and report.html; the same command goes on there")
      ->capture_default_str();
  compare->add_option("--seeds", c->seeds, "Paired seeds 1, 2, …")->capture_default_str();
  compare
      ->add_option("--learning-rates", c->learning_rates, "Peak rates to try, joined by commas; each ends at a tenth")
      ->delimiter(',')
      ->capture_default_str();
  compare->add_option("--select", c->select, "The best rate is that of the lowest loss on the first seed, or on all")
      ->capture_default_str();
  compare->add_option("--target", c->target, "Loss for steps-to-target; 0: the baseline's at the end")
      ->capture_default_str();
  compare->add_option(
      "--symptoms", c->symptoms,
      "Measures to test, joined by commas (heed-lab list measure); fewer are easier to tell from chance");
  compare->add_option(
      "--shard", c->shard,
      "Train only the i-th of n parts of the variants: i/n (under mpirun the ranks share all runs by themselves)");
  compare->add_option("--merge", c->merge, "Folders of other machines' journals: write the report of all of them");
  compare->add_flag("--unmatched", c->unmatched, "Leave the parameter counts as they are");
  compare->add_flag("--json", c->json, "Print the verdict as JSON instead of a table");
  compare->add_option("--device", c->device, "cpu, cuda or cuda:1")->capture_default_str();
  compare->add_option("--threads", c->threads, "Processors to use; 0: all. Results do not depend on it")
      ->capture_default_str();
  compare->add_option("--preset", c->preset, "Start from these settings, as of train")->capture_default_str();
  add_options(*compare, c->settings, not_options);
  compare->footer("Example: heed-lab compare --attention multi-head,gated --task mqar --out runs/mqar");
  compare->callback([c] { run(*c); });
}

}  // namespace lab
