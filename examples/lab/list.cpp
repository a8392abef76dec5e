// heed-lab list
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/attention/catalogue.h>
#include <heed/nn/diagnose/measures.h>
#include <heed/nn/init/catalogue.h>
#include <heed/nn/loss/catalogue.h>
#include <heed/nn/norm/catalogue.h>
#include <heed/nn/norm/residual.h>
#include <heed/nn/position/catalogue.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/optim/catalogue.h>
#include <heed/optim/schedule.h>
#include <heed/optim/tasks.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>

#include "run.h"
#include "trial.h"

namespace lab {
namespace {

using heed::nn::Entry;

template <class Row>
std::vector<Entry const*> entries(std::vector<Row> const& rows) {
  std::vector<Entry const*> list;
  for (Row const& row : rows) list.push_back(&row);
  return list;
}

/// A catalogue, and what a row of it has beyond an Entry.
struct Kind {
  std::string_view name;
  std::vector<Entry const*> (*rows)();
  void (*more)(nlohmann::json&, Entry const&) = nullptr;
};

void add_traits(nlohmann::json& json, Entry const& entry) {
  auto const& row = heed::nn::find_row("attention", heed::nn::attentions(), entry.name);
  heed::nn::Traits const t = heed::nn::traits_of(row.small.empty() ? row.name : row.small);
  json["traits"] = {{"causal", t.causal},
                    {"bidirectional", t.bidirectional},
                    {"cross", t.cross},
                    {"steps", t.steps},
                    {"equivariant", t.equivariant},
                    {"pools", t.pools},
                    {"time", heed::nn::name(t.time)},
                    {"memory", heed::nn::name(t.memory)},
                    {"state", heed::nn::name(t.state)}};
}

void add_rate(nlohmann::json& json, Entry const& entry) {
  auto const& row = heed::nn::find_row("optimizer", heed::optim::optimizers(), entry.name);
  json["learning_rate"] = row.learning_rate;
}

void add_better(nlohmann::json& json, Entry const& entry) {
  auto const better = heed::nn::find_row("measure", measures(), entry.name).better;
  json["better"] = better == MeasureRow::lower ? "lower" : better == MeasureRow::higher ? "higher" : "neither";
}

void add_operands(nlohmann::json& json, Entry const& entry) {
  json["operands"] = heed::nn::find_row("loss", heed::nn::losses(), entry.name).operands;
}

void add_range(nlohmann::json& json, Entry const& entry) {
  auto const& row = heed::nn::find_row("diagnosis", heed::nn::measures(), entry.name);
  json["unit"] = row.unit;
  json["low"] = row.low;
  json["high"] = std::isfinite(row.high) ? nlohmann::json(row.high) : nlohmann::json();
  json["reading"] = row.reading;
  json["by"] = row.by_head ? "head" : "layer";
}

void add_data(nlohmann::json& json, Entry const& entry) {
  auto const& row = heed::nn::find_row("regularizer", heed::nn::regularizers(), entry.name);
  if (!row.takes.empty()) json["takes"] = row.takes;
}

void add_shape(nlohmann::json& json, Entry const& entry) {
  json["axes"] = heed::nn::find_row("norm", heed::nn::norms(), entry.name).axes;
}

std::vector<Kind> const& kinds() {
  static std::vector<Kind> const list{
      {"attention", [] { return entries(heed::nn::attentions()); }, add_traits},
      {"position", [] { return entries(heed::nn::positions()); }},
      {"measure", [] { return entries(measures()); }, add_better},
      {"regularizer", [] { return entries(heed::nn::regularizers()); }, add_data},
      {"norm", [] { return entries(heed::nn::norms()); }, add_shape},
      {"placement", [] { return entries(heed::nn::placements()); }},
      {"residual", [] { return entries(heed::nn::residuals()); }},
      {"init", [] { return entries(heed::nn::inits()); }},
      {"loss", [] { return entries(heed::nn::losses()); }, add_operands},
      {"optimizer", [] { return entries(heed::optim::optimizers()); }, add_rate},
      {"schedule", [] { return entries(heed::optim::schedules()); }},
      {"diagnosis", [] { return entries(heed::nn::measures()); }, add_range},
      {"task", [] { return entries(heed::optim::tasks()); }},
  };
  return list;
}

/// Every field as {name, default, help}.
struct OptionList final : heed::nn::ConfigVisitor {
  void field(std::string_view name, int64_t& value, std::string_view help) override { add(name, value, help); }
  void field(std::string_view name, double& value, std::string_view help) override { add(name, value, help); }
  void field(std::string_view name, bool& value, std::string_view help) override { add(name, value, help); }
  void field(std::string_view name, std::string& value, std::string_view help) override { add(name, value, help); }
  template <class T>
  void add(std::string_view name, T const& value, std::string_view help) {
    options.push_back({{"name", name}, {"default", value}, {"help", help}});
  }
  nlohmann::json options = nlohmann::json::array();
};

nlohmann::json options_of(Entry const& entry) {
  OptionList list;
  if (entry.options) entry.options(list);
  return list.options;
}

nlohmann::json to_json(Kind const& kind, Entry const& entry) {
  nlohmann::json json{{"name", entry.name},     {"family", entry.family},   {"rank", heed::nn::name(entry.rank)},
                      {"source", entry.source}, {"summary", entry.summary}, {"options", options_of(entry)}};
  if (kind.more) kind.more(json, entry);
  return json;
}

void print_table(std::vector<Entry const*> const& rows) {
  size_t name = 4, family = 6, source = 6;
  for (Entry const* row : rows)
    name = std::max(name, row->name.size()), family = std::max(family, row->family.size()),
    source = std::max(source, row->source.size());
  fmt::print("{:<{}}  {:<{}}  {:<6}  {:<{}}  {}\n", "name", name, "family", family, "rank", "source", source,
             "summary");
  for (Entry const* row : rows)
    fmt::print("{:<{}}  {:<{}}  {:<6}  {:<{}}  {}\n", row->name, name, row->family, family, heed::nn::name(row->rank),
               row->source, source, row->summary);
}

void print_one(Kind const& kind, Entry const& entry) {
  nlohmann::json const json = to_json(kind, entry);
  fmt::print("{} ({}, {}; {})\n{}\n", entry.name, entry.family, heed::nn::name(entry.rank), entry.source,
             entry.summary);
  if (json["options"].empty()) fmt::print("It has no settings.\n");
  for (auto const& option : json["options"])
    fmt::print("  {}={}  {}\n", option["name"].get<std::string>(),
               option["default"].is_string() ? option["default"].get<std::string>() : option["default"].dump(),
               option["help"].get<std::string>());
  if (json.contains("traits")) {
    std::string traits;
    for (auto const& [name, value] : json["traits"].items())
      if (!value.is_boolean())
        traits += fmt::format(", {} in {}", value.get<std::string>(), name);
      else if (value.get<bool>())
        traits += ", " + name;
    fmt::print("Traits: {}.\n", traits.substr(2));
  }
}

struct ListCommand {
  std::string kind, name;
  bool json = false;
};

void run(ListCommand const& c) {
  auto const kind = std::find_if(kinds().begin(), kinds().end(), [&](Kind const& k) { return k.name == c.kind; });
  heed::check(kind != kinds().end(), "list", [&] {
    std::string names;
    for (Kind const& k : kinds()) names += fmt::format("{}{}", names.empty() ? "" : ", ", k.name);
    return heed::Complaint{fmt::format("there is no catalogue '{}'", c.kind), "list one of " + names};
  });
  std::vector<Entry const*> rows = kind->rows();
  if (!c.name.empty()) {
    auto const found = std::find_if(rows.begin(), rows.end(), [&](Entry const* row) { return row->name == c.name; });
    if (found == rows.end()) {
      std::vector<std::string_view> known;
      for (Entry const* row : rows) known.push_back(row->name);
      heed::nn::fail_unknown(kind->name, c.name, known);
    }
    rows = {*found};
  }
  if (c.json) {
    nlohmann::json list = nlohmann::json::array();
    for (Entry const* row : rows) list.push_back(to_json(*kind, *row));
    fmt::print("{}\n", list.dump(2));
  } else if (c.name.empty()) {
    print_table(rows);
  } else {
    print_one(*kind, *rows[0]);
  }
}

}  // namespace

void add_list(CLI::App& app) {
  auto const c = std::make_shared<ListCommand>();
  CLI::App* const list = app.add_subcommand("list", "Show a catalogue: what can be chosen by name");
  std::string names;
  for (Kind const& kind : kinds()) names += fmt::format("{}{}", names.empty() ? "" : ", ", kind.name);
  list->add_option("kind", c->kind, "One of " + names)->required();
  list->add_option("name", c->name, "Show this one with its settings and their defaults");
  list->add_flag("--json", c->json, "Print JSON instead of a table");
  list->footer("Example: heed-lab list task mqar");
  list->callback([c] { run(*c); });
}

}  // namespace lab
