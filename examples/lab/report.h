// The report of a run: one HTML file that needs nothing else, with the loss curve, the measures and the attention maps.
#pragma once

#include <heed/engine/tensor.h>
#include <heed/nn/diagnose/diagnose.h>

#include <string>
#include <utility>
#include <vector>

namespace lab {

struct Report {
  std::string title, checkpoint;
  std::vector<std::pair<std::string, std::string>> facts;                 // name, value
  std::vector<std::pair<double, double>> training_loss, validation_loss;  // step, nats
  heed::nn::Diagnosis diagnosis;
  std::vector<heed::Tensor> maps;  // [H, T, S] of one window, of every core in turn
  std::string window;              // the text that the maps show
  std::string sample;
};

/// Writes the file whole or not at all.
void write_report(std::string const& path, Report const& report);

}  // namespace lab
