// What a run is made of: the model's and the training's settings, each field once (visit), read as options, help and
// JSON.
#pragma once

#include <heed/nn/transformer.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace lab {

struct TrainingSettings {
  int64_t steps = 1000;
  int64_t batch = 16;
  std::string optimizer = "adamw";
  std::string schedule = "cosine";
  double learning_rate = 1e-3;
  double min_learning_rate = 1e-4;
  int64_t warmup = 100;
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double clip = 1;
  int64_t accumulate = 1;
  std::string regularize = "";
  int64_t evaluate_every = 250;
  int64_t patience = 0;
  double validation_share = 0.1;
  int64_t checkpoint_every = 0;
  int64_t seed = 1;

  void visit(heed::nn::ConfigVisitor& v);
};

struct Settings {
  heed::nn::GPTConfig model;
  TrainingSettings training;
};

/// Names and one line of help.
std::map<std::string, std::string> const& presets();
/// An Error that lists the names where `name` is none.
Settings preset(std::string const& name);

/// What --preset names among the arguments: it is the default of every other option, so it is looked for first.
std::string given_preset(int argc, char const* const* argv, std::string otherwise);

/// Adds one option a field, "--learning-rate", with default and help, but for the fields `without`; values go into
/// `settings`.
void add_options(CLI::App& app, Settings& settings, std::set<std::string> const& without = {});

nlohmann::json to_json(Settings settings);
/// An Error where a field is missing or of another type.
Settings from_json(nlohmann::json const& json);
/// Of the options given on the command line, those that differ from `reference`: "layers (6, the checkpoint has 4)".
std::vector<std::string> differences(CLI::App const& app, Settings given, Settings reference);

}  // namespace lab
