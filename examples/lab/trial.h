// One run of a comparison: a kind of attention with a regulariser, a seed and a learning rate, trained and measured.
#pragma once

#include <heed/engine/device.h>
#include <heed/nn/regularize/regularizers.h>
#include <heed/optim/optim.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "material.h"
#include "settings.h"

namespace lab {

/// What is compared: "sliding:window=16" with "none" or "entropy:weight=0.01".
struct Variant {
  std::string attention, regularize;
  bool operator==(Variant const&) const = default;
  bool operator<(Variant const& o) const {
    return std::tie(attention, regularize) < std::tie(o.attention, o.regularize);
  }
  /// The attention, and the regulariser where there is one.
  std::string title() const;
};

struct Trial {
  Variant variant;
  int64_t seed = 1;
  double learning_rate = 0;
  bool operator<(Trial const& o) const {
    return std::tie(variant, seed, learning_rate) < std::tie(o.variant, o.seed, o.learning_rate);
  }
};

/// All that a trial says, as it stands in the journal.
struct Outcome {
  Trial trial;
  bool diverged = false;  // the loss stopped being finite; nothing else is known then
  int64_t parameters = 0, hidden = 0;
  std::map<std::string, double> values;                             // by the name of a measure
  std::map<std::string, std::vector<std::vector<double>>> by_head;  // by the name of a measure: [layer][head]
  std::vector<std::array<double, 3>> validation;                    // step, seconds of training, loss
  std::vector<std::pair<double, double>> training;                  // step, mean loss of some steps
  std::vector<std::array<double, 3>> by_distance;                   // largest distance, loss, share of right answers
  struct Map {
    int64_t rows = 0, columns = 0;
    std::string pixels;  // base64 of √weight·255, one byte a weight
  };
  std::vector<std::vector<Map>> maps;  // [layer][head], of one window; only of the first seed
};
nlohmann::json to_json(Outcome const& outcome);
/// An Error where a field is missing or of another type.
Outcome outcome_from_json(nlohmann::json const& json);

/// What a measure is called and how it reads.
struct MeasureRow : heed::nn::Entry {
  enum Better { neither, lower, higher } better;
  enum Format { number, percent, seconds, bytes, steps } format;
};
/// Those of a run; of the attention maps, by head and as a mean over heads.
std::vector<MeasureRow> const& measures();
MeasureRow const* find_measure(std::string_view name);

/// What all trials share.
struct Contest {
  Settings settings;  // without what a trial says
  heed::Device device = heed::cpu;
  Material const* material = nullptr;
  int64_t target_parameters = 0;  // 0: hidden as it is set
};

/// The model's settings for `variant`, with the hidden width for which its parameters come closest to `target` (0:
/// left alone), and how many it has.
struct Matched {
  heed::nn::GPTConfig config;
  int64_t parameters;
};
Matched match_parameters(Contest const& contest, Variant const& variant);

/// Trains and measures; `on_step` after every step. `maps`: keep the attention maps.
Outcome run_trial(Contest const& contest, Trial const& trial, bool maps,
                  std::function<void(heed::optim::StepReport const&)> const& on_step);

/// Seconds of one step and of one evaluation, from a few of them.
std::pair<double, double> time_trial(Contest const& contest, Variant const& variant);

}  // namespace lab
