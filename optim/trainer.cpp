#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/io/file.h>
#include <heed/engine/ops.h>
#include <heed/optim/trainer.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>

namespace heed::optim {

Trainer::Trainer(nn::Module& model, Optimizer& optimizer, TrainerOptions const& options, NextLoss next_loss,
                 Evaluate evaluate)
    : model_(model),
      optimizer_(optimizer),
      options_(options),
      next_loss_(std::move(next_loss)),
      evaluate_(std::move(evaluate)) {
  check(options.steps >= 1 && options.accumulate >= 1 && options.clip >= 0 && options.evaluate_every >= 0 &&
            options.patience >= 0,
        "Trainer", [&] {
          return Complaint{
              fmt::format(
                  "expected steps and accumulate ≥ 1 and clip, evaluate_every, patience ≥ 0, got {}, {}, {}, {}, {}",
                  options.steps, options.accumulate, options.clip, options.evaluate_every, options.patience),
              "pass 0 to turn clipping, evaluation or patience off"};
        });
}

/// Loss and gradients of the next batches, clipped; what the first evaluation of a step gives stands in the report.
Evaluation Trainer::evaluate_batch(StepReport& report, std::vector<nn::NamedTensor> const& parameters) {
  optimizer_.zero_grad();
  if (together_) together_->begin();
  double total = 0;
  bool const asked = stop_when_ && stop_when_();
  for (int64_t i = 0; i < options_.accumulate; ++i) {
    Tensor loss = next_loss_();
    if (regularizer_)
      if (Tensor const penalty = regularizer_->penalty(model_); penalty.defined()) loss = loss + penalty;
    double const parts = double(options_.accumulate) * (together_ ? together_->parts() : 1);
    if (parts != 1) loss = loss / parts;
    total += loss.item();
    if (together_ && i + 1 == options_.accumulate) together_->last({total, asked});
    loss.backward();
  }
  Together::Sum const sum = together_ ? together_->finish() : Together::Sum{total, asked};
  check(std::isfinite(sum.loss), "Trainer", [&] {
    return Complaint{fmt::format("the loss became {} at step {}", sum.loss, report.step),
                     "lower the learning rate, lengthen the warm-up, or clip gradients"};
  });
  stop_ |= sum.stop;
  if (regularizer_) regularizer_->gradients(parameters);
  double const norm = gradient_norm(optimizer_.groups());
  if (report.evaluations++ == 0) report.loss = sum.loss, report.gradient_norm = norm;
  return {sum.loss, clip_scale(norm, options_.clip)};
}

void Trainer::run(TrainingState& state) {
  auto const start = std::chrono::steady_clock::now();
  std::vector<nn::NamedTensor> parameters;
  for (ParameterGroup const& group : optimizer_.groups())
    parameters.insert(parameters.end(), group.parameters.begin(), group.parameters.end());
  std::vector<Generator*> generators = generators_;
  generators.push_back(&default_generator());
  Schedule* const schedule = options_.schedule.get();
  if (schedule && !state.schedule.empty()) schedule->remember(state.schedule);
  nn::train(model_);
  bool going = true;
  stop_ = false;
  while (going && state.step < options_.steps) {
    if (schedule) optimizer_.set_learning_rate(schedule->at(state.step));
    StepReport report{.step = state.step + 1,
                      .steps = options_.steps,
                      .loss = 0,
                      .learning_rate = optimizer_.learning_rate(),
                      .gradient_norm = 0,
                      .evaluations = 0,
                      .evaluated = false,
                      .validation = 0,
                      .seconds = 0};
    std::vector<Generator> before;
    for (Generator const* generator : generators) before.push_back(*generator);
    optimizer_.step([&] {
      if (report.evaluations > 0)
        for (size_t i = 0; i < before.size(); ++i) *generators[i] = before[i];
      return evaluate_batch(report, parameters);
    });
    state.step = report.step;
    if (regularizer_) regularizer_->stepped(model_, state.step);

    bool const due = options_.evaluate_every > 0 && report.step % options_.evaluate_every == 0;
    if (evaluate_ && (due || report.step == options_.steps)) {
      nn::eval(model_);
      optimizer_.evaluating(true);
      if (regularizer_) regularizer_->evaluating(model_, true);
      report.validation = evaluate_();
      if (regularizer_) regularizer_->evaluating(model_, false);
      optimizer_.evaluating(false);
      nn::train(model_);
      report.evaluated = true;
      if (schedule) {
        schedule->observe(report.validation);
        state.schedule = schedule->memory();
      }
      bool const better = report.validation < state.best_validation;
      if (better) state.best_validation = report.validation;
      state.stale_evaluations = better ? 0 : state.stale_evaluations + 1;
      if (options_.patience > 0 && state.stale_evaluations >= options_.patience) going = false;
    }
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (Callback const& callback : callbacks_) going = callback(report) && going;
    going = going && !stop_;
  }
}

namespace {

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

/// The lines of an earlier log up to step `keep_steps`.
std::string kept_lines(std::string const& path, bool json, int64_t keep_steps) {
  if (keep_steps == 0 || !std::filesystem::exists(path)) return {};
  std::string const text = read_file(path);
  size_t end = 0;
  int64_t lines = json ? 0 : -1;  // the header
  while (lines < keep_steps && end < text.size()) {
    size_t const newline = text.find('\n', end);
    if (newline == std::string::npos) break;
    end = newline + 1;
    ++lines;
  }
  return text.substr(0, end);
}

}  // namespace

Trainer::Callback log_to(std::string const& path, int64_t keep_steps) {
  bool const json = path.ends_with(".jsonl");
  std::string head = kept_lines(path, json, keep_steps);
  if (head.empty() && !json) head = "step,loss,learning_rate,gradient_norm,validation,seconds\n";
  write_file_atomically(path, head);
  std::shared_ptr<std::FILE> const file(std::fopen(path.c_str(), "ab"), FileCloser{});
  check(file != nullptr, "log_to", [&] {
    return Complaint{fmt::format("'{}' cannot be opened for writing", path), "choose a writable directory"};
  });
  return [file, json, path](StepReport const& r) {
    std::string const validation = r.evaluated ? fmt::format("{:.6f}", r.validation) : json ? "null" : "";
    std::string const line =
        json
            ? fmt::format(
                  R"({{"step":{},"loss":{:.6f},"learning_rate":{:.6e},"gradient_norm":{:.6f},"validation":{},"seconds":{:.3f}}})",
                  r.step, r.loss, r.learning_rate, r.gradient_norm, validation, r.seconds)
            : fmt::format("{},{:.6f},{:.6e},{:.6f},{},{:.3f}", r.step, r.loss, r.learning_rate, r.gradient_norm,
                          validation, r.seconds);
    bool const written = std::fputs((line + "\n").c_str(), file.get()) >= 0 && std::fflush(file.get()) == 0;
    check(written, "log_to", [&] {
      return Complaint{fmt::format("'{}' cannot be written to", path),
                       "free space on the disk, or choose another directory"};
    });
    return true;
  };
}

}  // namespace heed::optim
