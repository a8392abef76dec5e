// What a comparison's models learn: a text or a task, the same examples for every model of one seed.
#pragma once

#include <heed/nn/regularize/regularizer.h>
#include <heed/nn/transformer.h>
#include <heed/optim/data.h>
#include <heed/optim/tasks.h>

#include <memory>
#include <optional>
#include <string>

namespace lab {

struct MaterialOptions {
  std::string text, task;  // one of them: a file, or optim::make_task()'s
  int64_t block = 64;      // of a text's windows
  double validation_share = 0.1;
  int64_t examples = 0;      // of a task: so many are drawn once and seen again and again; 0: always fresh ones
  int64_t evaluation = 512;  // validation examples, and as many of the training ones for the gap
};

class Material {
 public:
  explicit Material(MaterialOptions const& options);
  bool is_task() const { return task_ != nullptr; }
  bool real_inputs() const { return features > 0; }
  /// Of training; where the generator stands is the data position.
  heed::optim::TaskBatch batch(int64_t count, heed::Generator& generator) const;

  /// "mqar:pairs=8", or the text's checksum: what a journal must agree on.
  std::string identity;
  std::string title;
  int64_t length = 0, vocabulary = 0, features = 0;
  double blind_loss = 0;  // of a task
  /// Held-out examples and seen ones, the same for every run.
  heed::optim::TaskBatch validation, seen;

 private:
  heed::optim::TaskBatch windows(heed::optim::Batch const& batch) const;
  std::unique_ptr<heed::optim::Task> task_;
  std::optional<heed::optim::TokenDataset> text_;
  heed::optim::TaskBatch fixed_;
};

/// Rows `from` to `to` of a batch.
heed::optim::TaskBatch rows(heed::optim::TaskBatch const& batch, int64_t from, int64_t to);

/// A GPT, with a projection at either end where what it learns has real inputs.
class Learner final : public heed::nn::Module {
 public:
  Learner(heed::nn::GPTConfig const& config, int64_t features);
  void visit(heed::nn::Visitor& visitor) override;

  /// What is asked, and what comes out there: logits [N, V] and targets [N] i64, or values [B] and targets [B] f32.
  struct Answers {
    heed::Tensor given, targets;
  };
  Answers answer(heed::Tensor const& inputs, heed::Tensor const& targets) const;
  /// Mean cross-entropy, or mean squared error.
  static heed::Tensor loss(Answers const& answers);

  heed::nn::GPT gpt;
  std::unique_ptr<heed::nn::Linear> input, output;
};

}  // namespace lab
