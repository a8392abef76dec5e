#include "run.h"

#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/file.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/optim/distributed/sharded.h>

#include <algorithm>
#include <filesystem>

namespace lab {

using namespace heed;

Text read_text(std::string const& path) {
  Text text{.path = path, .content = read_file(path), .checksum = {}};
  check(!text.content.empty(), "text", [&] {
    return Complaint{fmt::format("'{}' is empty", path), "pass a text file with --text"};
  });
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a: Fowler, Noll, Vo
  for (unsigned char c : text.content) hash = (hash ^ c) * 0x100000001B3;
  text.checksum = fmt::format("{:016x}", hash);
  return text;
}

void describe(optim::Checkpoint& checkpoint, Settings const& settings, optim::CharacterVocabulary const& vocabulary,
              Text const& text) {
  nlohmann::json characters = nlohmann::json::array();
  for (std::string const& c : vocabulary.characters()) {
    // JSON holds no stray bytes: characters are written as lists of them.
    nlohmann::json bytes = nlohmann::json::array();
    for (unsigned char b : c) bytes.push_back(b);
    characters.push_back(bytes);
  }
  checkpoint.put_text("configuration", to_json(settings).dump());
  checkpoint.put_text("vocabulary", characters.dump());
  checkpoint.put_text("text.path", std::filesystem::absolute(text.path).lexically_normal().string());
  checkpoint.put_text("text.checksum", text.checksum);
}

Trained load_trained(std::string const& given) {
  std::string const path = std::filesystem::is_directory(given) ? RunFiles(given).checkpoint() : given;
  Trained t;
  t.checkpoint = optim::Checkpoint::load(path);
  try {
    t.settings = from_json(nlohmann::json::parse(t.checkpoint.get_text("configuration")));
    std::vector<std::string> characters;
    for (auto const& bytes : nlohmann::json::parse(t.checkpoint.get_text("vocabulary"))) {
      std::string& c = characters.emplace_back();
      for (auto const& b : bytes) c += char(b.get<unsigned char>());
    }
    t.vocabulary = optim::CharacterVocabulary(std::move(characters));
  } catch (nlohmann::json::exception const& error) {
    fail("Checkpoint", {fmt::format("the configuration in '{}' cannot be read: {}", path, error.what()),
                        "use a file that heed-lab wrote"});
  }
  t.text_path = t.checkpoint.get_text("text.path");
  t.text_checksum = t.checkpoint.get_text("text.checksum");
  check(t.vocabulary.size() == t.settings.model.vocabulary, "Checkpoint", [&] {
    return Complaint{fmt::format("'{}' lists {} characters for a vocabulary of {}", path, t.vocabulary.size(),
                                 t.settings.model.vocabulary),
                     "use an undamaged file"};
  });
  t.model = std::make_unique<nn::GPT>(t.settings.model);
  t.checkpoint.get_model(*t.model);
  return t;
}

void put_to_use(Trained& t, Device device) {
  nn::to(*t.model, device);
  nn::eval(*t.model);
  t.regularizers = std::make_unique<nn::Regularizers>(nn::make_regularizers(t.settings.training.regularize));
  t.regularizers->begin(*t.model);
  t.checkpoint.get_regularizer(*t.regularizers);
}

Tensor batch_loss(nn::GPT const& model, optim::Batch const& batch) {
  Device const device = model.token_embedding.weight.device();
  return cross_entropy(model(batch.inputs.to(device)), batch.targets.to(device));
}

Tensor training_loss(nn::GPT const& model, optim::Batch batch, nn::Regularizer& regularizer, Generator& generator) {
  Device const device = model.token_embedding.weight.device();
  batch = {batch.inputs.to(device), batch.targets.to(device)};
  regularizer.batch(batch.inputs, batch.targets, generator);
  Tensor const logits = model(batch.inputs);
  return regularizer.loss(cross_entropy(logits, batch.targets), logits, batch.targets);
}

std::unique_ptr<optim::Optimizer> make_optimizer(nn::Module& model, TrainingSettings const& t,
                                                 distributed::Communicator* shards) {
  std::string const text =
      t.optimizer == "adamw" ? fmt::format("adamw:beta1={},beta2={}", t.beta1, t.beta2) : t.optimizer;
  auto groups = optim::decay_matrices_only(model, t.weight_decay);
  if (shards) return distributed::make_sharded(text, std::move(groups), *shards, t.learning_rate);
  return optim::make_optimizer(text, std::move(groups), t.learning_rate);
}

std::unique_ptr<optim::Schedule> make_schedule(TrainingSettings const& t) {
  return optim::make_schedule(t.schedule, {t.learning_rate, std::min(t.learning_rate, t.min_learning_rate), t.steps},
                              t.warmup);
}

double validation_loss(nn::GPT const& model, optim::TokenDataset const& data, distributed::Communicator* ranks) {
  int const rank = ranks ? ranks->rank() : 0, size = ranks ? ranks->size() : 1;
  NoGrad const off;
  auto const batches = data.validation_batches(32);
  std::vector<double> sums(batches.size());
  for (size_t i = size_t(rank); i < batches.size(); i += size_t(size))
    sums[i] = batch_loss(model, batches[i]).item() * double(batches[i].inputs.size(0));
  if (size > 1) {
    Tensor all = tensor(sums, {int64_t(sums.size())});
    ranks->all_reduce(all);
    sums = all.to_vector<double>();
  }
  double sum = 0;
  int64_t windows = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    sum += sums[i];
    windows += batches[i].inputs.size(0);
  }
  return sum / double(windows);
}

}  // namespace lab
