// heed-lab reproduce
#include "reproduce.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "run.h"

namespace lab {
namespace {

struct Figure {
  char const* name;
  char const* help;
  int (*run)(ReproduceSettings const&);
};
constexpr Figure figures[] = {
    {"fast-weight", "how many associations each kind of attention holds (Schlag et al., 2021, figures 2 and 3)",
     reproduce_fast_weight},
    {"rank-collapse", "attention alone loses rank with depth, skips prevent it (Dong et al., 2021, figure 2); seconds",
     reproduce_rank_collapse},
};

}  // namespace

void add_reproduce(CLI::App& app) {
  CLI::App* const reproduce = app.add_subcommand("reproduce", "Measure published figures again, and compare");
  reproduce->require_subcommand(1);
  for (Figure const& figure : figures) {
    CLI::App* const one = reproduce->add_subcommand(figure.name, figure.help);
    auto const settings = std::make_shared<ReproduceSettings>();
    one->add_flag("--quick", settings->quick, "a part that takes a minute or two");
    one->add_option("--seed", settings->seed, "of data and initial weights")->capture_default_str();
    one->add_option("--out", settings->out, "directory of results; what is in them is not measured again")
        ->capture_default_str();
    one->callback([settings, run = figure.run] {
      if (run(*settings) > 0) throw CLI::RuntimeError(1);
    });
  }
}

}  // namespace lab
