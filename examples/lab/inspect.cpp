// heed-lab inspect
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/file.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/diagnose/diagnose.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <sstream>

#include "report.h"
#include "run.h"

namespace lab {
namespace {

using namespace heed;

struct InspectCommand {
  std::string checkpoint, text, report;
  int64_t windows = 8, sample = 400;
  bool json = false, all = false;
};

/// The two series of log.csv: the training loss, smoothed over a fiftieth of the run, and the validation loss.
void read_log(std::string const& path, Report& report) {
  if (!std::filesystem::exists(path)) return;
  std::istringstream lines(read_file(path));
  std::string line;
  std::getline(lines, line);
  std::vector<std::pair<double, double>> raw;
  while (std::getline(lines, line)) {
    std::vector<std::string> cells;
    std::istringstream row(line);
    for (std::string cell; std::getline(row, cell, ',');) cells.push_back(cell);
    if (cells.size() < 5) continue;
    raw.emplace_back(std::strtod(cells[0].c_str(), nullptr), std::strtod(cells[1].c_str(), nullptr));
    if (!cells[4].empty())
      report.validation_loss.emplace_back(raw.back().first, std::strtod(cells[4].c_str(), nullptr));
  }
  size_t const width = std::max(raw.size() / 50, size_t{1}), stride = std::max(raw.size() / 500, size_t{1});
  double sum = 0;
  for (size_t i = 0; i < raw.size(); ++i) {
    sum += raw[i].second;
    if (i >= width) sum -= raw[i - width].second;
    if (i % stride == 0 || i + 1 == raw.size())
      report.training_loss.emplace_back(raw[i].first, sum / double(std::min(i + 1, width)));
  }
}

/// Measures whose names head a column of the short table.
struct Column {
  char const* measure;
  char const* head;
  char const* format;
};
constexpr Column columns[] = {
    {"entropy", "entropy", "{:>11.3f}"},           {"entropy-share", "of uniform", "{:>11.2f}"},
    {"effective-count", "effective", "{:>11.2f}"}, {"largest", "largest", "{:>11.3f}"},
    {"distance", "distance", "{:>11.2f}"},         {"sink", "sink", "{:>11.3f}"},
    {"first-key", "first key", "{:>11.3f}"},       {"overlap", "overlap", "{:>11.3f}"}};

void print_table(nn::Diagnosis const& d) {
  fmt::print("{:>5} {:>5}", "layer", "head");
  for (Column const& column : columns) fmt::print("{:>11}", column.head);
  for (size_t l = 0; l < d.layers.size(); ++l) {
    for (size_t h = 0; h < size_t(d.layers[l].heads); ++h) {
      fmt::print("\n{:>5} {:>5}", l, h);
      for (Column const& column : columns) fmt::print(fmt::runtime(column.format), d.value(l, h, column.measure));
    }
  }
  fmt::print("\n\n{:>5} {:>17} {:>14}\n", "layer", "token similarity", "rank residual");
  for (size_t l = 0; l < d.layers.size(); ++l)
    fmt::print("{:>5} {:>17.3f} {:>14.3f}\n", l, d.value(l, 0, "token-similarity"), d.value(l, 0, "rank-residual"));
}

void print_diagnosis(nn::Diagnosis const& diagnosis, bool all, int64_t windows) {
  if (all)
    fmt::print("{}", diagnosis.table());
  else
    print_table(diagnosis);
  fmt::print(
      "\nMeans over queries of {} windows: entropy in nats, its share of a uniform head's, 1/sum(a^2) keys, largest "
      "weight,\ndistance in characters, largest mean weight that one key gets, what the first key gets, overlap with "
      "other heads.\n{:.0f} % of heads have the first key for a sink. Of a recurrence a is |A|/sum |A|, A = do/dv its "
      "map.\nheed-lab list diagnosis explains them and the rest (--all).\n",
      windows, 100 * diagnosis.sink_rate());
}

void print_json(double loss, nn::Diagnosis const& d) {
  nlohmann::json json{{"validation_loss", loss},
                      {"sink_rate", d.sink_rate()},
                      {"heads", nlohmann::json::array()},
                      {"layers", nlohmann::json::array()}};
  auto const key = [](nn::MeasureRow const& m) {
    std::string name(m.name);
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
  };
  for (size_t l = 0; l < d.layers.size(); ++l) {
    nlohmann::json layer{{"layer", l}, {"path", d.layers[l].path}};
    for (nn::MeasureRow const& m : nn::measures())
      if (!m.by_head) layer[key(m)] = d.value(l, 0, m.name);
    json["layers"].push_back(std::move(layer));
    for (size_t h = 0; h < size_t(d.layers[l].heads); ++h) {
      nlohmann::json head{{"layer", l}, {"head", h}};
      for (nn::MeasureRow const& m : nn::measures())
        if (m.by_head) head[key(m)] = d.value(l, h, m.name);
      json["heads"].push_back(std::move(head));
    }
  }
  fmt::print("{}\n", json.dump(2));
}

void run(InspectCommand const& c) {
  check(c.windows >= 1 && c.sample >= 0, "inspect", [&] {
    return Complaint{
        fmt::format("expected --windows of 1 or more and --sample of 0 or more, got {} and {}", c.windows, c.sample),
        "see heed-lab inspect --help"};
  });
  Trained t = load_trained(c.checkpoint);
  put_to_use(t);
  Text const text = read_text(c.text.empty() ? t.text_path : c.text);
  optim::TokenDataset const data(t.vocabulary.encode(text.content), t.settings.model.block,
                                 t.settings.training.validation_share);
  double const loss = validation_loss(*t.model, data);

  NoGrad const off;
  optim::Batch const batch = data.validation_batches(c.windows).front();
  nn::Diagnosis const diagnosis = nn::diagnose(*t.model, [&] { (*t.model)(batch.inputs); });

  if (c.json) {
    print_json(loss, diagnosis);
  } else {
    fmt::print("validation loss {:.4f} over {} characters\n\n", loss, data.validation_tokens());
    if (diagnosis.layers.empty())
      fmt::print(
          "No layer weighs positions by the softmax core or by a recurrence ({}): there are no maps to measure.\n",
          t.settings.model.attention);
    else
      print_diagnosis(diagnosis, c.all, batch.inputs.size(0));
  }
  if (c.report.empty()) return;
  Report report;
  report.title = "What the model attends to";
  report.checkpoint = c.checkpoint;
  auto const& model = t.settings.model;
  report.facts = {
      {"validation loss, nats a character", fmt::format("{:.4f}", loss)},
      {"parameters", fmt::format("{}", nn::count_parameters(*t.model))},
      {"layers · heads · width · block",
       fmt::format("{} · {} · {} · {}", model.layers, model.heads, model.dim, model.block)},
      {"text", fmt::format("{} ({} characters, {} distinct)", std::filesystem::path(text.path).filename().string(),
                           text.content.size(), t.vocabulary.size())}};
  std::filesystem::path const path(c.checkpoint);
  read_log(RunFiles(std::filesystem::is_directory(path) ? c.checkpoint : path.parent_path().string()).log(), report);
  report.diagnosis = diagnosis;
  for (Tensor const& w : nn::attention_maps([&] { (*t.model)(batch.inputs.slice(0, 0, 1)); }, true))
    report.maps.push_back(w.select(0, 0));
  report.window = t.vocabulary.decode(batch.inputs.select(0, 0).to_vector<int64_t>());
  Generator generator(1);
  auto const start = batch.inputs.select(0, 0).to_vector<int64_t>();
  report.sample = t.vocabulary.decode(nn::generate(*t.model, start, c.sample, {.temperature = 0.8}, generator));
  write_report(c.report, report);
  if (!c.json) fmt::print("report {}\n", c.report);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto const c = std::make_shared<InspectCommand>();
  CLI::App* const inspect =
      app.add_subcommand("inspect", "Measure what each attention head of a trained model depends on");
  inspect->add_option("checkpoint", c->checkpoint, "Checkpoint file, or the --out directory of train")->required();
  inspect->add_option("--text", c->text, "Text whose validation part is read (default: the training text)");
  inspect->add_option("--windows", c->windows, "Windows of the validation part to measure on")->capture_default_str();
  inspect->add_option("--report", c->report, "Write a self-contained HTML report to this file");
  inspect->add_option("--sample", c->sample, "Characters of generated text in the report")->capture_default_str();
  inspect->add_flag("--all", c->all, "Every measure, in a wide table");
  inspect->add_flag("--json", c->json, "Print JSON instead of a table");
  inspect->footer("Example: heed-lab inspect runs/lab --report report.html");
  inspect->callback([c] { run(*c); });
}

}  // namespace lab
