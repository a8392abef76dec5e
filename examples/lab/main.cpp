// heed-lab: train a small transformer on a text, let it write, and see what its attention depends on.
#include <fmt/format.h>
#include <heed/engine/device.h>
#include <heed/engine/error.h>
#include <heed/optim/distributed/environment.h>

#include <CLI/CLI.hpp>
#include <exception>

#include "run.h"

namespace {

void add_devices(CLI::App& app) {
  CLI::App* const devices = app.add_subcommand("devices", "List where tensors can live here, and of CUDA why not");
  devices->callback([] {
    for (heed::DeviceEntry const& entry : heed::devices()) {
      std::string const memory = entry.memory ? fmt::format(", {:.1f} GiB", double(entry.memory) / (1 << 30)) : "";
      fmt::print("{:<8}{}\n", to_string(entry.device),
                 entry.available ? entry.name + memory : "not available: " + entry.why);
    }
  });
}

/// "rank 1: " where a launcher started several.
std::string this_rank() {
  try {
    auto const here = heed::distributed::environment();
    return here.size > 1 ? fmt::format("rank {}: ", here.rank) : "";
  } catch (heed::Error const&) {
    return "";
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    CLI::App app("heed-lab: train a small transformer on a text, let it write, and see what its attention depends on.");
    app.require_subcommand(1);
    app.footer("Start with: heed-lab train --preset tiny --text FILE, then heed-lab inspect runs/lab.");
    lab::add_train(app, argc, argv);
    lab::add_generate(app);
    lab::add_inspect(app);
    lab::add_compare(app, argc, argv);
    lab::add_list(app);
    lab::add_reproduce(app);
    add_devices(app);
    try {
      app.parse(argc, argv);
    } catch (CLI::RuntimeError const& stop) {
      return stop.get_exit_code();
    } catch (CLI::ParseError const& error) {
      if (error.get_exit_code() == 0) return app.exit(error);  // --help
      fmt::print(stderr, "heed-lab: {}. Remedy: see --help.\n", error.what());
      return 2;
    }
    return 0;
  } catch (std::exception const& error) {
    fmt::print(stderr, "heed-lab: {}{}\n", this_rank(), error.what());
    return 2;
  }
}
