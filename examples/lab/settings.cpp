#include "settings.h"

#include <fmt/format.h>
#include <heed/engine/error.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

namespace lab {

void TrainingSettings::visit(heed::nn::ConfigVisitor& v) {
  v.field("steps", steps, "optimiser steps");
  v.field("batch", batch, "windows a step");
  v.field("optimizer", optimizer, "rule and its settings, as lion:beta2=0.98 or sam+sgd (heed-lab list optimizer)");
  v.field("schedule", schedule, "of the rate, as cosine or wsd:decay=0.1 (heed-lab list schedule)");
  v.field("learning_rate", learning_rate, "peak rate");
  v.field("min_learning_rate", min_learning_rate, "rate at the last step, where the schedule ends");
  v.field("warmup", warmup, "steps of linear warm-up before the schedule, where that has none");
  v.field("weight_decay", weight_decay, "of matrices and tables; vectors do not decay");
  v.field("beta1", beta1, "of adamw where --optimizer has no settings: decay of the mean of gradients");
  v.field("beta2", beta2, "of adamw likewise: decay of the mean of squared gradients");
  v.field("accumulate", accumulate, "batches a step, whose gradients are averaged");
  v.field("clip", clip, "largest norm of the gradient; 0: off");
  v.field(
      "regularize", regularize,
      "regularisers and their settings, as dropout:p=0.1+entropy (heed-lab list regularizer shows them); none where "
      "it is empty");
  v.field("evaluate_every", evaluate_every,
          "steps between evaluations of the whole validation part; 0: only at the end");
  v.field("patience", patience, "evaluations without improvement before stopping; 0: never stop early");
  v.field("validation_share", validation_share, "part of the text kept for validation, at its end, 0 to 1");
  v.field("checkpoint_every", checkpoint_every, "steps between checkpoints; 0: only at the end and on Ctrl-C");
  v.field("seed", seed, "of initial weights, dropout and batches");
}

std::map<std::string, std::string> const& presets() {
  static std::map<std::string, std::string> const list{
      {"quick", "4 layers, 4 heads, width 128, block 128: one to two minutes on two cores"},
      {"nanogpt-cpu",
       "nanoGPT's CPU setting: 4 layers, 4 heads, width 128, block 64, batch 12, 2,000 steps, no dropout"},
      {"compare", "2 layers, 2 heads, width 64, block 64, 1,000 steps of 32: what `heed-lab compare` starts from"},
      {"tiny", "1 layer, 2 heads, width 32, block 32, 60 steps: seconds, to try things out"}};
  return list;
}

Settings preset(std::string const& name) {
  Settings s;
  s.model.vocabulary = 0;  // set by the text
  if (name == "quick") {
    s.model.block = 128;
    s.training = {.steps = 1200,
                  .batch = 16,
                  .learning_rate = 2e-3,
                  .min_learning_rate = 1e-4,
                  .warmup = 100,
                  .evaluate_every = 100};
  } else if (name == "nanogpt-cpu") {
    s.training = {.steps = 2000, .batch = 12, .evaluate_every = 500};
  } else if (name == "compare") {
    s.model.layers = 2, s.model.heads = 2, s.model.dim = 64;
    s.training = {.steps = 1000, .batch = 32, .learning_rate = 3e-3, .warmup = 50, .evaluate_every = 50};
  } else if (name == "tiny") {
    s.model.layers = 1, s.model.heads = 2, s.model.dim = 32, s.model.block = 32;
    s.training = {.steps = 60, .batch = 4, .learning_rate = 3e-3, .warmup = 10, .evaluate_every = 30};
  } else {
    std::string names;
    for (auto const& [known, help] : presets()) names += (names.empty() ? "" : ", ") + known;
    heed::fail("preset", {fmt::format("expected one of {}, got '{}'", names, name), "see heed-lab train --help"});
  }
  return s;
}

namespace {

/// Calls on_field(name, value&, help) with every field's own type.
template <class OnField>
class EachField final : public heed::nn::ConfigVisitor {
 public:
  explicit EachField(OnField on_field) : on_field_(std::move(on_field)) {}
  void field(std::string_view name, int64_t& value, std::string_view help) override { on_field_(name, value, help); }
  void field(std::string_view name, double& value, std::string_view help) override { on_field_(name, value, help); }
  void field(std::string_view name, bool& value, std::string_view help) override { on_field_(name, value, help); }
  void field(std::string_view name, std::string& value, std::string_view help) override {
    on_field_(name, value, help);
  }

 private:
  OnField on_field_;
};

template <class Config, class OnField>
void for_each_field(Config& config, OnField on_field) {
  EachField<OnField> visitor(std::move(on_field));
  config.visit(visitor);
}

std::string option_name(std::string_view field) {
  std::string name = fmt::format("--{}", field);
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

/// CLI11 2.1 clamps numbers that are too large instead of refusing them.
std::string fits_int64(std::string const& text) {
  int64_t value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? ""
                                                                  : fmt::format("expected an integer, got '{}'", text);
}

constexpr std::string_view vocabulary_field = "vocabulary";  // comes from the text, not from an option

template <class Config>
void add_group(CLI::App& app, Config& config, std::string const& group, std::set<std::string> const& without) {
  for_each_field(config, [&](std::string_view name, auto& value, std::string_view help) {
    if (name == vocabulary_field || without.contains(std::string(name))) return;
    CLI::Option* const option =
        app.add_option(option_name(name), value, std::string(help))->capture_default_str()->group(group);
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, int64_t>) option->check(fits_int64);
  });
}

template <class Config>
nlohmann::json fields_to_json(Config& config) {
  nlohmann::json json;
  for_each_field(config,
                 [&](std::string_view name, auto& value, std::string_view) { json[std::string(name)] = value; });
  return json;
}

template <class Config>
void fields_from_json(nlohmann::json const& json, Config& config) {
  for_each_field(config, [&](std::string_view name, auto& value, std::string_view) {
    try {
      json.at(std::string(name)).get_to(value);
    } catch (nlohmann::json::exception const& error) {
      heed::fail("configuration", {fmt::format("the field '{}' cannot be read: {}", name, error.what()),
                                   "use a file that heed-lab wrote"});
    }
  });
}

}  // namespace

std::string given_preset(int argc, char const* const* argv, std::string otherwise) {
  for (int i = 1; i < argc; ++i) {
    std::string_view const word = argv[i];
    if (word == "--preset" && i + 1 < argc) otherwise = argv[i + 1];
    if (word.starts_with("--preset=")) otherwise = word.substr(9);
  }
  return otherwise;
}

void add_options(CLI::App& app, Settings& settings, std::set<std::string> const& without) {
  add_group(app, settings.model, "Model", without);
  add_group(app, settings.training, "Training", without);
}

nlohmann::json to_json(Settings settings) {
  return {{"model", fields_to_json(settings.model)}, {"training", fields_to_json(settings.training)}};
}

Settings from_json(nlohmann::json const& json) {
  Settings settings;
  heed::check(json.is_object() && json.contains("model") && json.contains("training"), "configuration", [] {
    return heed::Complaint{"expected an object with 'model' and 'training'", "use a file that heed-lab wrote"};
  });
  fields_from_json(json["model"], settings.model);
  fields_from_json(json["training"], settings.training);
  return settings;
}

std::vector<std::string> differences(CLI::App const& app, Settings given, Settings reference) {
  auto const ours = to_json(given), theirs = to_json(reference);
  std::vector<std::string> list;
  for (auto const& [group, fields] : ours.items())
    for (auto const& [name, value] : fields.items())
      if (name != vocabulary_field && app.count(option_name(name)) > 0 && value != theirs[group][name])
        list.push_back(fmt::format("{} ({}, the checkpoint has {})", name, value.dump(), theirs[group][name].dump()));
  return list;
}

}  // namespace lab
