// The training loop: schedule, clipping, evaluation, early stopping, callbacks, a log.
#pragma once

#include <heed/engine/random.h>
#include <heed/nn/regularize/regularizer.h>
#include <heed/optim/optimizer.h>
#include <heed/optim/schedule.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace heed::optim {

/// What a run has come to: with the model, the optimiser and the generators it is all that a resumed run needs.
struct TrainingState {
  int64_t step = 0;  // steps taken
  double best_validation = 1e300;
  int64_t stale_evaluations = 0;      // evaluations since the best one
  std::vector<double> schedule = {};  // Schedule::memory()
};

struct TrainerOptions {
  int64_t steps = 1000;
  std::shared_ptr<Schedule> schedule = {};  // none: the rate stays the optimiser's
  int64_t accumulate = 1;                   // batches a step, whose mean loss is followed
  double clip = 1;                          // largest gradient norm; 0: off
  int64_t evaluate_every = 250;             // steps; 0: only at the end
  int64_t patience = 0;                     // evaluations without improvement before stopping; 0: never
};

/// What callbacks see after every step.
struct StepReport {
  int64_t step, steps;                        // step counts from 1
  double loss, learning_rate, gradient_norm;  // of the first evaluation in the step
  int64_t evaluations;                        // of loss and gradients: 1 with most rules
  bool evaluated;                             // `validation` is fresh
  double validation;
  double seconds;  // of this run so far, evaluation included
};

/// How several processes take one step together, each with its share of the rows of a batch: what a Trainer asks of
/// them (optim/distributed/data_parallel.h).
class Together {
 public:
  struct Sum {
    double loss;
    bool stop;
  };
  virtual ~Together() = default;
  /// Before the first batch of an evaluation: gradients stay here from now on.
  virtual void begin() = 0;
  /// What the mean loss over this rank's rows is divided by, so that the sum over ranks is the mean over all rows.
  virtual double parts() const = 0;
  /// Before the last backward of an evaluation, whose gradients may go out while it runs; `own` is this rank's.
  virtual void last(Sum own) = 0;
  /// After it: gradients are summed over ranks, as is what is returned; whether any rank wants to stop.
  virtual Sum finish() = 0;
};

class Trainer {
 public:
  /// Gives the loss of the next batch, recorded.
  using NextLoss = std::function<Tensor()>;
  /// Gives the validation loss.
  using Evaluate = std::function<double()>;
  /// Returns false to stop after this step.
  using Callback = std::function<bool(StepReport const&)>;

  Trainer(nn::Module& model, Optimizer& optimizer, TrainerOptions const& options, NextLoss next_loss,
          Evaluate evaluate = {});
  void on_step(Callback callback) { callbacks_.push_back(std::move(callback)); }
  /// `generator`, which `next_loss` draws its batch from, is set back where a rule evaluates a batch more than once
  /// (SAM, L-BFGS), as the thread's default one is: each time it is the same batch, and the same dropout.
  void draw_from(Generator& generator) { generators_.push_back(&generator); }
  /// Calls all of `regularizer`, which outlives the run, but begin(), which belongs before the optimiser is made, and
  /// batch() and loss(), which `next_loss` calls.
  void regularize(nn::Regularizer& regularizer) { regularizer_ = &regularizer; }
  /// The run is one of several that step together; callbacks then answer alike on every rank.
  void together(Together& ranks) { together_ = &ranks; }
  /// Asked once in every step; true on any rank ends the run after that step on every one.
  void stop_when(std::function<bool()> asked) { stop_when_ = std::move(asked); }
  /// The last run ended so.
  bool stopped() const { return stop_; }
  /// Trains from `state.step` to options.steps, or until patience or a callback ends it. An Error where the loss is not
  /// finite.
  void run(TrainingState& state);

 private:
  Evaluation evaluate_batch(StepReport& report, std::vector<nn::NamedTensor> const& parameters);
  nn::Module& model_;
  Optimizer& optimizer_;
  TrainerOptions options_;
  NextLoss next_loss_;
  Evaluate evaluate_;
  std::vector<Callback> callbacks_;
  std::vector<Generator*> generators_;
  std::function<bool()> stop_when_;
  nn::Regularizer* regularizer_ = nullptr;
  Together* together_ = nullptr;
  bool stop_ = false;
};

/// A callback that appends one line a step to `path`: JSON where the name ends in .jsonl, else CSV with a header.
/// Lines after `keep_steps` are dropped first, so that a resumed run continues its own log.
Trainer::Callback log_to(std::string const& path, int64_t keep_steps = 0);

}  // namespace heed::optim
