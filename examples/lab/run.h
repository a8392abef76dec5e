// A run's directory: checkpoint, configuration, log; and what the commands share around it.
#pragma once

#include <heed/nn/regularize/regularizers.h>
#include <heed/nn/transformer.h>
#include <heed/optim/distributed/communicator.h>
#include <heed/optim/optim.h>

#include <string>

#include "settings.h"

namespace lab {

/// Where a run keeps what.
struct RunFiles {
  explicit RunFiles(std::string directory) : directory(std::move(directory)) {}
  std::string directory;
  std::string checkpoint() const { return directory + "/checkpoint.safetensors"; }
  std::string configuration() const { return directory + "/config.json"; }
  std::string log() const { return directory + "/log.csv"; }
};

/// A text as tokens. `checksum` tells one text from another.
struct Text {
  std::string path;
  std::string content;
  std::string checksum;
};
/// An Error where the file is missing or empty.
Text read_text(std::string const& path);

/// A trained model with all that its checkpoint says.
struct Trained {
  Settings settings;
  heed::optim::CharacterVocabulary vocabulary;
  std::string text_path, text_checksum;
  heed::optim::Checkpoint checkpoint;
  std::unique_ptr<heed::nn::GPT> model;
  std::unique_ptr<heed::nn::Regularizers> regularizers = {};  // since put_to_use()
};
/// `path`: a checkpoint file or a run's directory.
Trained load_trained(std::string const& path);
/// The model as evaluations saw it: what its regularisers do to layers in evaluation too, they do from now on.
void put_to_use(Trained& trained, heed::Device device = heed::cpu);

/// Adds what load_trained() reads back, beside the model.
void describe(heed::optim::Checkpoint& checkpoint, Settings const& settings,
              heed::optim::CharacterVocabulary const& vocabulary, Text const& text);

/// What the settings name; the optimiser's state is spread over `shards`.
std::unique_ptr<heed::optim::Optimizer> make_optimizer(heed::nn::Module& model, TrainingSettings const& settings,
                                                       heed::distributed::Communicator* shards = nullptr);
std::unique_ptr<heed::optim::Schedule> make_schedule(TrainingSettings const& settings);

/// Mean loss over every window of the validation part, which the ranks share; the same bits for any number of them.
double validation_loss(heed::nn::GPT const& model, heed::optim::TokenDataset const& data,
                       heed::distributed::Communicator* ranks = nullptr);

/// The loss of one batch: mean cross-entropy of the next token, nats.
heed::Tensor batch_loss(heed::nn::GPT const& model, heed::optim::Batch const& batch);
/// The same in training, with what regularisers make of the batch and of the loss.
heed::Tensor training_loss(heed::nn::GPT const& model, heed::optim::Batch batch, heed::nn::Regularizer& regularizer,
                           heed::Generator& generator);

// The commands: each adds itself to `app` and runs when it was chosen.
void add_train(CLI::App& app, int argc, char const* const* argv);
void add_compare(CLI::App& app, int argc, char const* const* argv);
void add_generate(CLI::App& app);
void add_inspect(CLI::App& app);
void add_list(CLI::App& app);
void add_reproduce(CLI::App& app);

}  // namespace lab
