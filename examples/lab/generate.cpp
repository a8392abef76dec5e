// heed-lab generate
#include <fmt/format.h>
#include <heed/engine/engine.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "run.h"

namespace lab {
namespace {

using namespace heed;

struct GenerateCommand {
  std::string checkpoint, prompt = "\n", device = "cpu";
  int64_t tokens = 500, top_k = 0, seed = 1;
  double temperature = 0.8;
};

void run(GenerateCommand const& c) {
  Trained t = load_trained(c.checkpoint);
  put_to_use(t, parse_device(c.device));
  Generator generator{uint64_t(c.seed)};
  auto const prompt = t.vocabulary.encode(c.prompt);
  auto const tokens =
      nn::generate(*t.model, prompt, c.tokens, {.temperature = c.temperature, .top_k = c.top_k}, generator);
  fmt::print("{}{}\n", c.prompt == "\n" ? "" : c.prompt, t.vocabulary.decode(tokens));
}

}  // namespace

void add_generate(CLI::App& app) {
  auto const c = std::make_shared<GenerateCommand>();
  CLI::App* const generate = app.add_subcommand("generate", "Let a trained model continue a text");
  generate->add_option("checkpoint", c->checkpoint, "Checkpoint file, or the --out directory of train")->required();
  generate->add_option("--prompt", c->prompt,
                       "Text to continue; its characters must occur in the training text (default: a new line)");
  generate->add_option("--tokens", c->tokens, "Characters to write")->capture_default_str();
  generate
      ->add_option("--temperature", c->temperature,
                   "Divides the logits: lower is more cautious; 0: always the likeliest")
      ->capture_default_str();
  generate->add_option("--top-k", c->top_k, "Draw among the k likeliest characters; 0: all")->capture_default_str();
  generate->add_option("--seed", c->seed, "Of the draws")->capture_default_str();
  generate->add_option("--device", c->device, "cpu, cuda or cuda:1; heed-lab devices lists what is there")
      ->capture_default_str();
  generate->footer("Example: heed-lab generate runs/lab --prompt 'The licence' --tokens 300");
  generate->callback([c] { run(*c); });
}

}  // namespace lab
