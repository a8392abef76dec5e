// heed-lab train
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/file.h>
#include <heed/engine/parallel.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/optim/distributed.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>

#include "progress.h"
#include "run.h"

namespace lab {
namespace {

using namespace heed;
using distributed::Communicator;

struct TrainCommand {
  std::string preset = "quick", text, directory = "runs/lab", profile, device = "cpu";
  bool resume = false, shard_optimizer = false;
  int64_t threads = 0, stop_at = 0, ranks = 1;
  Settings settings;
};

std::sig_atomic_t volatile interrupted = 0;
void on_interrupt(int signal) {
  interrupted = 1;
  std::signal(signal, SIG_DFL);  // a second one ends the process at once
}

/// Everything that takes part in training, fresh or as a checkpoint left it.
struct Session {
  Settings settings;
  Text text;
  optim::CharacterVocabulary vocabulary;
  std::unique_ptr<optim::TokenDataset> data;
  std::unique_ptr<nn::GPT> model;
  std::unique_ptr<nn::Regularizers> regularizers;
  std::unique_ptr<optim::Optimizer> optimizer;
  optim::TrainingState state;
  Generator batches;  // where it stands is the data position

  optim::Batch step_windows;  // of the step under way, all ranks' and all accumulated ones
  int64_t taken = 0;          // batches of them
  /// This rank's rows of the next batch. A step's windows are drawn at once: they are the same, however they are split.
  optim::Batch next_batch(distributed::Rows rows) {
    TrainingSettings const& t = settings.training;
    if (taken == 0) step_windows = data->random_batch(t.batch * t.accumulate, batches);
    int64_t const from = t.batch * taken + rows.first, to = from + rows.count;
    taken = (taken + 1) % t.accumulate;
    return {step_windows.inputs.slice(0, from, to), step_windows.targets.slice(0, from, to)};
  }
};

std::unique_ptr<optim::TokenDataset> make_data(Session const& s) {
  return std::make_unique<optim::TokenDataset>(s.vocabulary.encode(s.text.content), s.settings.model.block,
                                               s.settings.training.validation_share);
}

/// The model where it is trained, and after that what keeps tensors beside the weights.
void place(Session& s, TrainCommand const& command, Communicator& ranks) {
  nn::to(*s.model, parse_device(command.device));
  s.regularizers = std::make_unique<nn::Regularizers>(nn::make_regularizers(s.settings.training.regularize));
  s.regularizers->begin(*s.model);
  s.optimizer = make_optimizer(*s.model, s.settings.training, command.shard_optimizer ? &ranks : nullptr);
}

/// Weights, gradients and AdamW's two moments must fit in memory: a model that does not is refused before it is made.
void check_memory(nn::GPTConfig const& c) {
  double const dim = double(c.dim), hidden = c.hidden ? double(c.hidden) : 4 * dim;
  double const parameters =
      double(c.vocabulary + c.block) * dim + double(c.layers) * (4 * dim * dim + 2 * dim * hidden);
  double const needed = 4 * sizeof(float) * parameters,
               there = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE));
  check(needed < there, "train", [&] {
    return Complaint{fmt::format("the model needs about {:.3g} GB of memory to train, the machine has {:.3g} GB",
                                 needed / 1e9, there / 1e9),
                     "choose fewer --layers or a smaller --dim"};
  });
}

Session start(TrainCommand const& command, Communicator& ranks) {
  check(!command.text.empty(), "train", [] {
    return Complaint{"no text was given", "name a text file with --text FILE"};
  });
  Session s;
  s.settings = command.settings;
  s.text = read_text(command.text);
  s.vocabulary = optim::CharacterVocabulary::of(s.text.content);
  s.settings.model.vocabulary = s.vocabulary.size();
  s.data = make_data(s);
  check_memory(s.settings.model);
  auto const seed = uint64_t(s.settings.training.seed);
  heed::seed(seed);
  s.model = std::make_unique<nn::GPT>(s.settings.model);
  s.settings.model = s.model->config;
  place(s, command, ranks);
  s.batches = Generator(seed ^ 0x6261746368657321);
  return s;
}

Session resume(TrainCommand const& command, CLI::App const& app, Communicator& ranks) {
  Trained t = load_trained(RunFiles(command.directory).checkpoint());
  auto const different = differences(app, command.settings, t.settings);
  check(different.empty(), "resume", [&] {
    return Complaint{fmt::format("the checkpoint is of another configuration: {}", fmt::join(different, ", ")),
                     "leave these options away, or train anew in another --out"};
  });
  Session s;
  s.settings = t.settings;
  s.text = read_text(command.text.empty() ? t.text_path : command.text);
  check(s.text.checksum == t.text_checksum, "resume", [&] {
    return Complaint{fmt::format("'{}' is not the text that the checkpoint was trained on", s.text.path),
                     "pass that text with --text, or train anew in another --out"};
  });
  s.vocabulary = std::move(t.vocabulary);
  s.data = make_data(s);
  s.model = std::move(t.model);
  place(s, command, ranks);
  t.checkpoint.get_regularizer(*s.regularizers);
  s.regularizers->evaluating(*s.model, false);
  s.state = t.checkpoint.get_training(*s.optimizer);
  s.batches = t.checkpoint.get_generator("batches");
  default_generator() = t.checkpoint.get_generator("default");
  return s;
}

/// The model in the file is the one that evaluations see. Rank 0 writes it; the others give what they alone hold.
void save(Session const& s, RunFiles const& files, bool writing) {
  s.optimizer->evaluating(true);
  s.regularizers->evaluating(*s.model, true);
  optim::Checkpoint checkpoint;
  describe(checkpoint, s.settings, s.vocabulary, s.text);
  checkpoint.put_model(*s.model);
  checkpoint.put_training(*s.optimizer, s.state);
  checkpoint.put_regularizer(*s.regularizers);
  checkpoint.put_generator("batches", s.batches);
  checkpoint.put_generator("default", default_generator());
  if (writing) checkpoint.save(files.checkpoint());
  s.regularizers->evaluating(*s.model, false);
  s.optimizer->evaluating(false);
}

/// Watches a few steps once the caches are warm.
class Profiler {
 public:
  Profiler(std::string path, int64_t taken) : path_(std::move(path)), taken_(taken) {
    if (!path_.empty()) write_file_atomically(path_, "");  // found out now where it cannot be written
  }
  void after(int64_t step) {
    if (path_.empty()) return;
    if (step == taken_ + warm_up) profile_.emplace();
    if (step == taken_ + warm_up + watched) write();
  }
  /// The run may have been shorter.
  void finish() {
    if (profile_) write();
  }

 private:
  void write() {
    fmt::print("{}\n{}", profile_->table(), profile_->module_table());
    profile_->write_trace(path_);
    fmt::print("trace {}\n", path_);
    profile_.reset();
  }

  static constexpr int64_t warm_up = 5, watched = 5;
  std::string path_;
  int64_t taken_;
  std::optional<Profile> profile_;
};

void check_settings(TrainingSettings const& t) {
  auto at_least = [](char const* name, double value, double least) {
    check(value >= least, "train", [&] {
      return Complaint{fmt::format("expected {} of {} or more, got {}", name, least, value),
                       "see heed-lab train --help"};
    });
  };
  at_least("--steps", double(t.steps), 1);
  at_least("--batch", double(t.batch), 1);
  at_least("--accumulate", double(t.accumulate), 1);
  at_least("--warmup", double(t.warmup), 0);
  at_least("--learning-rate", t.learning_rate, 0);
  at_least("--min-learning-rate", t.min_learning_rate, 0);
  at_least("--weight-decay", t.weight_decay, 0);
  at_least("--checkpoint-every", double(t.checkpoint_every), 0);
}

void make_directory(std::string const& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  check(!error && std::filesystem::is_directory(directory), "train", [&] {
    return Complaint{fmt::format("the directory '{}' cannot be made: {}", directory, error.message()),
                     "choose another with --out"};
  });
}

/// The accelerator of this rank among those of its machine.
Device own_device(std::string const& text, Communicator const& ranks) {
  if (text == "cuda" && ranks.size() > 1) return cuda(distributed::environment().local_rank);
  return parse_device(text);
}

/// One rank's part; the status to end with.
int run(TrainCommand command, CLI::App const& app, Communicator& ranks) {
  check_settings(command.settings.training);
  check(command.threads >= 0 && command.stop_at >= 0, "train", [&] {
    return Complaint{
        fmt::format("expected --threads and --stop-at of 0 or more, got {} and {}", command.threads, command.stop_at),
        "pass 0 for all processors, and for no early stop"};
  });
  bool const first = ranks.rank() == 0;  // who writes and speaks
  Device const device = own_device(command.device, ranks);
  command.device = to_string(device);
  if (!device.is_cpu()) backend(device).use(device.index);  // found out now where it is not there
  if (command.threads > 0) set_thread_count(int(command.threads));
  RunFiles const files(command.directory);
  Session s = command.resume ? resume(command, app, ranks) : start(command, ranks);
  TrainingSettings const& t = s.settings.training;
  distributed::DataParallel parallel(*s.model, ranks, {.also = s.regularizers->state()});
  distributed::Rows const rows = parallel.rows(t.batch);
  Profiler profiler(first ? command.profile : "", s.state.step);
  if (first) {
    make_directory(files.directory);
    write_file_atomically(files.configuration(), to_json(s.settings).dump(2) + "\n");
    fmt::print(stderr, "{} parameters, {} characters ({} for training), vocabulary {}, {}{} threads, {} kernels\n",
               nn::count_parameters(*s.model), s.text.content.size(), s.data->training_tokens(), s.vocabulary.size(),
               ranks.size() > 1 ? fmt::format("{} ranks of ", ranks.size()) : "", thread_count(),
               device.is_cpu() ? std::string(name(isa())) : to_string(device));
    if (command.resume)
      fmt::print(stderr, "{} {}\n",
                 s.state.step >= t.steps ? "nothing is left to do after step" : "resuming after step", s.state.step);
  }

  optim::Trainer trainer(
      *s.model, *s.optimizer,
      {.steps = t.steps,
       .schedule = make_schedule(t),
       .accumulate = t.accumulate,
       .clip = t.clip,
       .evaluate_every = t.evaluate_every,
       .patience = t.patience},
      [&] {
        optim::Batch const batch = s.next_batch(rows);
        Generator own = distributed::of_rank(s.batches, ranks.rank());
        Tensor const loss = training_loss(*s.model, batch, *s.regularizers, own);
        s.batches = Generator(s.batches.seed(), own.offset());
        return loss;
      },
      [&] { return validation_loss(*s.model, *s.data, &ranks); });
  trainer.regularize(*s.regularizers);
  trainer.draw_from(s.batches);
  if (ranks.size() > 1) trainer.together(parallel);
  trainer.stop_when([] { return interrupted != 0; });
  Progress progress(t.batch * s.settings.model.block, s.state.step);
  double validation = 0;
  if (first) trainer.on_step(optim::log_to(files.log(), s.state.step));
  trainer.on_step([&](optim::StepReport const& report) {
    if (first) progress.show(report);
    if (report.evaluated) validation = report.validation;
    return report.step != command.stop_at;
  });
  if (t.checkpoint_every > 0)
    trainer.on_step([&](optim::StepReport const& report) {
      if (report.step % t.checkpoint_every == 0) save(s, files, first);
      return true;
    });
  trainer.on_step([&](optim::StepReport const& report) {
    profiler.after(report.step);
    return true;
  });
  // A checkpoint that cannot be written is found out now, not after minutes of training.
  if (!command.resume) save(s, files, first);
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  auto const begun = std::chrono::steady_clock::now();
  trainer.run(s.state);
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  progress.finish();
  profiler.finish();
  nn::eval(*s.model);
  save(s, files, first);

  int const status = trainer.stopped() ? 130 : 0;
  if (!first) return status;
  if (validation > 0)
    fmt::print("validation loss {:.4f} (best {:.4f}) after {} steps, {:.0f} tokens/s\n", validation,
               s.state.best_validation, s.state.step, progress.tokens_per_second());
  if (ranks.size() > 1 && seconds > 0)
    fmt::print("rank 0 waited for the others {:.1f} % of the time\n", 100 * parallel.waited() / seconds);
  fmt::print("checkpoint {}\n", files.checkpoint());
  if (s.state.step < t.steps)
    fmt::print("stopped at step {} of {}; continue with: heed-lab train --resume --out {}\n", s.state.step, t.steps,
               files.directory);
  return status;
}

void run(TrainCommand const& command, CLI::App const& app) {
  int status = 0;
  auto const one = [&](Communicator& ranks) {
    int const own = run(command, app, ranks);
    if (ranks.rank() == 0 || ranks.name() == "mpi") status = own;
  };
  check(command.ranks >= 1, "train", [&] {
    return Complaint{fmt::format("expected --ranks of 1 or more, got {}", command.ranks), "leave it out"};
  });
  if (command.ranks > 1) {
    distributed::run_ranks(int(command.ranks), one);
  } else {
    auto const ranks = distributed::connect();
    distributed::run(*ranks, one);
  }
  if (status) throw CLI::RuntimeError(status);
}

}  // namespace

void add_train(CLI::App& app, int argc, char const* const* argv) {
  auto const command = std::make_shared<TrainCommand>();
  command->preset = given_preset(argc, argv, command->preset);
  std::string help = "Start from these settings:";
  for (auto const& [name, line] : presets()) help += fmt::format("\n  {}: {}", name, line);
  CLI::App* const train = app.add_subcommand("train", "Train a character-level GPT on a text");
  command->settings = preset(command->preset);
  train->add_option("--preset", command->preset, help)->capture_default_str();
  train->add_option("--text", command->text, "Text file to learn, UTF-8 or bytes (required, except with --resume)");
  train->add_option("--out", command->directory, "Directory for checkpoint.safetensors, config.json and log.csv")
      ->capture_default_str();
  train->add_flag("--resume", command->resume, "Continue the run in --out with the same bits as if it had not stopped");
  train->add_option("--stop-at", command->stop_at, "Stop after this step with a checkpoint, as Ctrl-C does; 0: do not")
      ->capture_default_str();
  train->add_option("--device", command->device, "cpu, cuda or cuda:1; heed-lab devices lists what is there")
      ->capture_default_str();
  train->add_option("--threads", command->threads, "Processors to use; 0: all. Results do not depend on it")
      ->capture_default_str();
  train
      ->add_option("--ranks", command->ranks,
                   "Ranks as threads of this process, which share each batch; mpirun starts them as processes")
      ->capture_default_str();
  train->add_flag("--shard-optimizer", command->shard_optimizer,
                  "Spread the optimiser's state over the ranks: less memory for each, the same bits");
  train->add_option("--profile", command->profile,
                    "Watch steps 6 to 10 of this run: a Chrome trace into this file (open it in ui.perfetto.dev) and a "
                    "table of operations");
  add_options(*train, command->settings);
  train->footer(
      "Example: heed-lab train --preset nanogpt-cpu --text shakespeare.txt --out runs/shakespeare\n"
      "Several processes: mpirun -n 2 heed-lab train …, with the same options for each. They share the rows of each "
      "batch; rank 0 writes.");
  train->callback([command, train] { run(*command, *train); });
}

}  // namespace lab
