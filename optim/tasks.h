// Synthetic tasks whose answers are known: what they need of a model is one thing, at a known distance.
#pragma once

#include <heed/engine/random.h>
#include <heed/engine/tensor.h>
#include <heed/nn/catalogue.h>

#include <memory>
#include <string_view>
#include <vector>

namespace heed::optim {

struct TaskBatch {
  Tensor inputs;     // [B, T] i64 tokens; where the task has features [B, T, F] f32
  Tensor targets;    // [B, T] i64, −100 where nothing is asked; where the task has features [B] f32, asked at the end
  Tensor distances;  // as targets, i64: how many positions back what the answer needs lies; −1 where nothing is asked
};

class Task {
 public:
  virtual ~Task() = default;
  /// `count` examples; the same ones for generators that stand at the same place.
  virtual TaskBatch draw(int64_t count, Generator& generator) const = 0;

  int64_t length = 0;      // T
  int64_t vocabulary = 0;  // tokens; 0 where inputs are features
  int64_t features = 0;
  /// Loss of the best guess that has not looked: nats a question, or the mean squared error.
  double blind_loss = 0;
};

/// Multi-query associative recall: pairs k v k v …, then each key once more at a place drawn by a power law (small ones
/// first), where its value is asked for; between them noise. Keys are tokens 1 … V/2 − 1, values and noise V/2 … V − 1.
/// Arora et al., "Zoology: Measuring and improving recall in efficient language models" (2023).
struct AssociativeRecallConfig {
  int64_t length = 64;
  int64_t pairs = 8;
  int64_t vocabulary = 64;
  double power = 0.01;
  bool noise = true;
  void visit(nn::ConfigVisitor& v);
};

/// Tokens 2 … V − 1 at random places among blanks (0), then as many markers (1): at the i-th marker the i-th token is
/// asked for. Gu and Dao, "Mamba: Linear-time sequence modeling with selective state spaces" (2023).
struct SelectiveCopyConfig {
  int64_t length = 64;
  int64_t tokens = 8;
  int64_t vocabulary = 16;
  void visit(nn::ConfigVisitor& v);
};

/// A marker and the digits of a key at a random depth in filler that repeats; at the end the marker again, and the
/// digits are asked for one after another. Mohtashami and Jaggi, "Landmark attention" (2023). Token 0 is the marker, 1
/// to 10 are digits, 11 to 18 the filler.
struct PasskeyConfig {
  int64_t length = 128;
  int64_t digits = 4;
  void visit(nn::ConfigVisitor& v);
};

/// Uniform numbers of which two, one in each half, are marked: their sum is asked for at the end. The blind guess 1 has
/// a mean squared error of exactly 1/6. Hochreiter and Schmidhuber, "Long short-term memory" (1997).
struct AddingConfig {
  int64_t length = 64;
  void visit(nn::ConfigVisitor& v);
};

/// Tokens 2 … V − 1, then blanks (0), a marker (1), and blanks at which the tokens are asked for in order. Arjovsky et
/// al., "Unitary evolution recurrent neural networks" (2016).
struct CopyMemoryConfig {
  int64_t blanks = 32;
  int64_t tokens = 10;
  int64_t vocabulary = 10;
  void visit(nn::ConfigVisitor& v);
};

/// Random tokens; the special token 0 stands once among them and once at the end, where what followed it is asked for.
/// Olsson et al., "In-context learning and induction heads" (2022); Fu et al., "Hungry hungry hippos" (2023).
struct InductionConfig {
  int64_t length = 64;
  int64_t vocabulary = 20;
  void visit(nn::ConfigVisitor& v);
};

struct TaskRow : nn::Entry {
  std::unique_ptr<Task> (*make)(nn::Spec const&);
};
std::vector<TaskRow> const& tasks();
/// The task of "mqar:pairs=8,length=64". An Error where the name is unknown or a setting leaves no room.
std::unique_ptr<Task> make_task(std::string_view text);

}  // namespace heed::optim
