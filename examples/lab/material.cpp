#include "material.h"

#include <fmt/format.h>
#include <heed/engine/engine.h>

#include <filesystem>

#include "run.h"

namespace lab {

using namespace heed;
using optim::TaskBatch;

namespace {

constexpr uint64_t validation_seed = 0x76616c6964617465, examples_seed = 0x6578616d706c6573;

TaskBatch pick(TaskBatch const& from, Tensor const& index) {
  return {index_select(from.inputs, 0, index), index_select(from.targets, 0, index),
          index_select(from.distances, 0, index)};
}

}  // namespace

TaskBatch rows(TaskBatch const& batch, int64_t from, int64_t to) {
  return {batch.inputs.slice(0, from, to).contiguous(), batch.targets.slice(0, from, to).contiguous(),
          batch.distances.slice(0, from, to).contiguous()};
}

TaskBatch Material::windows(optim::Batch const& batch) const {
  // Of a text, what counts as distance is how many tokens are seen.
  Tensor const context = arange(1, length + 1).reshape({1, length});
  return {batch.inputs, batch.targets, context.expand({batch.inputs.size(0), length}).contiguous()};
}

Material::Material(MaterialOptions const& o) {
  check(o.text.empty() != o.task.empty(), "compare", [&] {
    return Complaint{o.text.empty() ? "nothing to learn was given" : "both a text and a task were given",
                     "name one: --text FILE, or --task NAME of heed-lab list task"};
  });
  check(o.examples >= 0 && o.evaluation >= 1, "compare", [&] {
    return Complaint{fmt::format("expected --examples of 0 or more and --evaluation of 1 or more, got {} and {}",
                                 o.examples, o.evaluation),
                     "see heed-lab compare --help"};
  });
  Generator held_out(validation_seed);
  if (!o.task.empty()) {
    task_ = optim::make_task(o.task);
    length = task_->length, vocabulary = std::max(task_->vocabulary, int64_t{1}), features = task_->features;
    blind_loss = task_->blind_loss;
    identity = o.examples ? fmt::format("{}, {} examples", o.task, o.examples) : o.task;
    title = "the task " + identity;
    validation = task_->draw(o.evaluation, held_out);
    Generator examples(examples_seed);
    seen = task_->draw(o.examples ? o.examples : o.evaluation, examples);
    if (o.examples) fixed_ = seen;
    seen = rows(seen, 0, std::min(o.evaluation, seen.inputs.size(0)));
    return;
  }
  Text const text = read_text(o.text);
  auto const characters = optim::CharacterVocabulary::of(text.content);
  length = o.block, vocabulary = characters.size();
  identity = fmt::format("text {}", text.checksum);
  title = std::filesystem::path(text.path).filename().string();
  text_.emplace(characters.encode(text.content), o.block, o.validation_share);
  // Windows spread evenly over the validation part.
  std::vector<optim::Batch> const all = text_->validation_batches(int64_t{1} << 40);
  int64_t const there = all[0].inputs.size(0), kept = std::min(there, o.evaluation);
  std::vector<int64_t> places;
  for (int64_t i = 0; i < kept; ++i) places.push_back(i * there / kept);
  validation = pick(windows(all[0]), tensor(places, {kept}));
  seen = windows(text_->random_batch(kept, held_out));
}

TaskBatch Material::batch(int64_t count, Generator& generator) const {
  if (text_) return windows(text_->random_batch(count, generator));
  if (!fixed_.inputs.defined()) return task_->draw(count, generator);
  return pick(fixed_, randint(0, fixed_.inputs.size(0), {count}, generator));
}

Learner::Learner(nn::GPTConfig const& config, int64_t features) : gpt(config) {
  if (features > 0) {
    input = std::make_unique<nn::Linear>(features, gpt.config.dim);
    output = std::make_unique<nn::Linear>(gpt.config.dim, 1);
  }
  nn::bind_paths(*this);
}

void Learner::visit(nn::Visitor& visitor) {
  gpt.visit(visitor);
  if (input) visitor.child("input", *input);
  if (output) visitor.child("output", *output);
}

Learner::Answers Learner::answer(Tensor const& inputs, Tensor const& targets) const {
  if (input) return {(*output)(gpt.body((*input)(inputs)).select(1, -1)).squeeze(-1), targets};
  Tensor const x = gpt.body(gpt.token_embedding(inputs));
  // Logits only where something is asked.
  Tensor const flat = targets.to(cpu).flatten();
  std::vector<int64_t> asked;
  for (int64_t i = 0; i < flat.numel(); ++i)
    if (flat.data<int64_t>()[i] != -100) asked.push_back(i);
  if (int64_t(asked.size()) == flat.numel()) return {gpt.head(x), targets};
  Tensor const index = tensor(asked, {int64_t(asked.size())}).to(x.device());
  return {gpt.head(index_select(x.reshape({-1, x.size(2)}), 0, index)), index_select(targets.flatten(), 0, index)};
}

Tensor Learner::loss(Answers const& a) {
  return a.given.rank() == 1 ? mean(square(a.given - a.targets)) : cross_entropy(a.given, a.targets);
}

}  // namespace lab
