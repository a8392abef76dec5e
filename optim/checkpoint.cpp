#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>
#include <heed/optim/checkpoint.h>

#include <bit>
#include <charconv>
#include <unordered_map>

namespace heed::optim {
namespace {

constexpr std::string_view format_key = "format", format_value = "heed checkpoint 1", alias_prefix = "alias.",
                           optimizer_prefix = "optimizer.", regularizer_prefix = "regularizer.";

uint64_t parse(std::string_view key, std::string_view text) {
  uint64_t value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size(), "Checkpoint", [&] {
    return Complaint{fmt::format("expected a number under '{}', got '{}'", key, text), "use a file that heed wrote"};
  });
  return value;
}

}  // namespace

Checkpoint Checkpoint::load(std::string const& path) {
  Checkpoint checkpoint;
  checkpoint.path_ = path;
  checkpoint.content_ = load_safetensors(path);
  check(checkpoint.has_text(format_key) && checkpoint.get_text(format_key) == format_value, "Checkpoint", [&] {
    return Complaint{fmt::format("'{}' is a safetensors file, but no checkpoint of heed", path),
                     "pass a file that heed-lab train wrote"};
  });
  return checkpoint;
}

void Checkpoint::save(std::string const& path) const {
  Safetensors content = content_;
  content.metadata.insert(content.metadata.begin(), {std::string(format_key), std::string(format_value)});
  save_safetensors(path, content);
}

void Checkpoint::put_model(nn::Module& model) {
  std::unordered_map<TensorBody*, std::string> first_name;
  for (auto const& [name, tensor] : nn::state_dict(model)) {
    auto const [found, fresh] = first_name.try_emplace(tensor.body(), name);
    if (fresh)
      content_.tensors.emplace_back(name, tensor.detach());
    else
      put_text(fmt::format("{}{}", alias_prefix, name), found->second);
  }
}

void Checkpoint::get_model(nn::Module& model) const {
  std::vector<nn::NamedTensor> state;
  for (auto const& [name, tensor] : content_.tensors)
    if (!name.starts_with(optimizer_prefix) && !name.starts_with(regularizer_prefix)) state.push_back({name, tensor});
  for (auto const& [key, original] : content_.metadata)
    if (key.starts_with(alias_prefix)) {
      Tensor const* const tensor = content_.find(original);
      check(tensor, "Checkpoint", [&] {
        return Complaint{fmt::format("'{}' stands for '{}', which '{}' lacks", key, original, path_),
                         "use an undamaged file"};
      });
      state.push_back({key.substr(alias_prefix.size()), *tensor});
    }
  nn::load_state_dict(model, state);
}

void Checkpoint::put_training(Optimizer const& optimizer, TrainingState const& state) {
  for (auto const& [name, tensor] : optimizer.state())
    content_.tensors.emplace_back(fmt::format("{}{}", optimizer_prefix, name), tensor);
  put_text("training.optimizer_steps", fmt::format("{}", optimizer.steps()));
  put_text("training.step", fmt::format("{}", state.step));
  put_text("training.best_validation_bits", fmt::format("{}", std::bit_cast<uint64_t>(state.best_validation)));
  put_text("training.stale_evaluations", fmt::format("{}", state.stale_evaluations));
  for (size_t i = 0; i < state.schedule.size(); ++i)
    put_text(fmt::format("training.schedule.{}", i), fmt::format("{}", std::bit_cast<uint64_t>(state.schedule[i])));
}

TrainingState Checkpoint::get_training(Optimizer& optimizer) const {
  auto number = [&](char const* key) { return parse(key, get_text(key)); };
  TrainingState state{.step = int64_t(number("training.step")),
                      .best_validation = std::bit_cast<double>(number("training.best_validation_bits")),
                      .stale_evaluations = int64_t(number("training.stale_evaluations"))};
  for (std::string key; has_text(key = fmt::format("training.schedule.{}", state.schedule.size()));)
    state.schedule.push_back(std::bit_cast<double>(number(key.c_str())));
  auto const steps = int64_t(number("training.optimizer_steps"));
  std::vector<nn::NamedTensor> moments;
  for (auto const& [name, tensor] : content_.tensors)
    if (name.starts_with(optimizer_prefix)) moments.push_back({name.substr(optimizer_prefix.size()), tensor});
  optimizer.load_state(moments, steps);
  return state;
}

void Checkpoint::put_regularizer(nn::Regularizer& regularizer) {
  for (auto const& [name, tensor] : regularizer.state())
    content_.tensors.emplace_back(fmt::format("{}{}", regularizer_prefix, name), tensor.detach());
}

void Checkpoint::get_regularizer(nn::Regularizer& regularizer) const {
  NoGrad const off;
  auto state = regularizer.state();
  for (auto const& [name, tensor] : state) {
    Tensor const* const saved = content_.find(fmt::format("{}{}", regularizer_prefix, name));
    check(saved && saved->shape() == tensor.shape() && saved->dtype() == tensor.dtype(), "Checkpoint", [&] {
      return Complaint{fmt::format("'{}' holds no state '{}' of the regularisers that fits", path_, name),
                       "resume with the regularisers that the run began with"};
    });
  }
  for (auto& [name, tensor] : state) tensor.copy_(*content_.find(fmt::format("{}{}", regularizer_prefix, name)));
}

void Checkpoint::put_generator(std::string_view name, Generator const& generator) {
  put_text(fmt::format("random.{}.seed", name), fmt::format("{}", generator.seed()));
  put_text(fmt::format("random.{}.offset", name), fmt::format("{}", generator.offset()));
}

Generator Checkpoint::get_generator(std::string_view name) const {
  auto number = [&](char const* what) {
    std::string const key = fmt::format("random.{}.{}", name, what);
    return parse(key, get_text(key));
  };
  return Generator(number("seed"), number("offset"));
}

void Checkpoint::put_text(std::string_view key, std::string_view text) { content_.metadata.emplace_back(key, text); }

bool Checkpoint::has_text(std::string_view key) const {
  for (auto const& entry : content_.metadata)
    if (entry.first == key) return true;
  return false;
}

std::string const& Checkpoint::get_text(std::string_view key) const {
  for (auto const& entry : content_.metadata)
    if (entry.first == key) return entry.second;
  fail("Checkpoint", {fmt::format("'{}' holds no '{}'", path_, key), "use a file that heed-lab train wrote"});
}

}  // namespace heed::optim
