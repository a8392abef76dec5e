// Checkpoints: one safetensors file with the model under its parameter names, and beside it all that a resumed run
// needs.
#pragma once

#include <heed/engine/io/safetensors.h>
#include <heed/engine/random.h>
#include <heed/nn/regularize/regularizer.h>
#include <heed/optim/optimizer.h>
#include <heed/optim/trainer.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace heed::optim {

/// The content of a checkpoint file: parameters by name (a shared one once, its other names as metadata
/// "alias.<name>"), the optimiser's moments as "optimizer.<kind>.<parameter>", what regularisers keep as
/// "regularizer.<name>", everything else as metadata.
class Checkpoint {
 public:
  Checkpoint() = default;
  /// Reads `path`; an Error where it is truncated, no safetensors file, or not written by save().
  static Checkpoint load(std::string const& path);
  /// Writes a temporary file, syncs it, renames it to `path`.
  void save(std::string const& path) const;

  void put_model(nn::Module& model);
  void put_training(Optimizer const& optimizer, TrainingState const& state);
  void put_regularizer(nn::Regularizer& regularizer);
  void put_generator(std::string_view name, Generator const& generator);
  void put_text(std::string_view key, std::string_view text);

  /// Each is an Error where the file lacks it or does not fit; nothing is changed then.
  void get_model(nn::Module& model) const;
  TrainingState get_training(Optimizer& optimizer) const;
  void get_regularizer(nn::Regularizer& regularizer) const;
  Generator get_generator(std::string_view name) const;
  std::string const& get_text(std::string_view key) const;
  bool has_text(std::string_view key) const;

 private:
  std::string path_;
  Safetensors content_;
};

}  // namespace heed::optim
