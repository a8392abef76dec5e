// The report of a run: one HTML file that needs nothing else, with the loss curve, the measures and the attention maps.
#pragma once

#include <heed/engine/tensor.h>
#include <heed/nn/diagnose/over_dependence.h>

#include <string>
#include <utility>
#include <vector>

namespace lab {

struct LayerHeads {
  std::vector<heed::nn::OverDependence> heads;
  heed::Tensor map;  // [H, T, S] of one window
};

struct Report {
  std::string title, checkpoint;
  std::vector<std::pair<std::string, std::string>> facts;                 // name, value
  std::vector<std::pair<double, double>> training_loss, validation_loss;  // step, nats
  std::vector<LayerHeads> layers;
  std::string window;  // the text that the maps show
  std::string sample;
};

/// Writes the file whole or not at all.
void write_report(std::string const& path, Report const& report);

}  // namespace lab
