// heed-bench: how fast heed is here, as a table or JSON; tests/peers/compare.py runs it beside its peers.
#include <fmt/format.h>
#include <heed/engine/engine.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "peak.h"
#include "turns.h"
#include "works.h"

namespace {

using namespace heed;
using bench::Work;

struct Result {
  double least, median;  // milliseconds a piece
  int count;             // turns measured
  double limit;          // milliseconds that the machine's peak or bandwidth, whichever binds, would take; 0: unknown
};

class Measured {
 public:
  explicit Measured(Work work) : work_(std::move(work)) {}
  Result operator()(double seconds, int threads) {
    set_thread_count(threads);
    std::vector<double> const times = bench::take_turns(work_.run, seconds, last_);
    double const scale = 1e3 / work_.pieces;
    return {times.front() * scale, times[times.size() / 2] * scale, int(times.size()), limit(threads)};
  }

 private:
  double limit(int threads) const {
    double ms = 0;
    if (work_.flop > 0) ms = std::max(ms, 1e-6 * work_.flop / bench::peak_gflops(isa(), threads));
    if (work_.bytes > 0) ms = std::max(ms, 1e-6 * work_.bytes / bench::peak_gbytes(work_.bytes, threads));
    return ms;
  }
  Work work_;
  double last_ = 0;  // seconds of a turn
};

std::string json(std::string const& name, int threads, Result const& r) {
  return fmt::format(
      R"({{"name": "{}", "threads": {}, "min": {:.6g}, "median": {:.6g}, "count": {}, "limit": {:.6g}}})", name,
      threads, r.least, r.median, r.count, r.limit);
}

std::string duration(double ms) {
  return ms < 1e-3 ? fmt::format("{:.0f} ns", ms * 1e6)
         : ms < 1  ? fmt::format("{:.1f} µs", ms * 1e3)
                   : fmt::format("{:.2f} ms", ms);
}

/// Kilobytes that /proc/self/status names `key`.
double resident(std::string const& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return std::atof(line.c_str() + key.size());
  return 0;
}

/// Megabytes by which the first turn raises the process's resident memory at its peak.
double growth(Work const& work, int threads) {
  set_thread_count(threads);
  std::ofstream("/proc/self/clear_refs") << "5";
  double const before = resident("VmRSS:");
  work.run();
  return (resident("VmHWM:") - before) / 1024;
}

bench::NamedWork const* find(std::string const& name) {
  for (auto const& work : bench::works())
    if (work.name == name) return &work;
  return nullptr;
}

/// Answers "name threads seconds" lines, each with a JSON line: what compare.py drives.
void serve() {
  std::map<std::string, Measured> ready;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string name;
    int threads = 1;
    double seconds = 1;
    words >> name >> threads >> seconds;
    auto const* const work = find(name);
    if (!work) {
      std::puts("{}");
    } else if (seconds == 0) {
      std::puts(fmt::format(R"({{"name": "{}", "growth": {:.4g}}})", name, growth(work->make(), threads)).c_str());
    } else {
      auto at = ready.find(name);
      if (at == ready.end()) {
        ready.clear();  // the last one's inputs would stay in memory
        at = ready.emplace(name, Measured(work->make())).first;
      }
      std::puts(json(name, threads, at->second(seconds, threads)).c_str());
    }
    std::fflush(stdout);
  }
}

[[noreturn]] void usage(int code) {
  std::puts(
      "heed-bench [--filter TEXT] [--threads N[,N]] [--seconds S] [--json] [--cpu]\nheed-bench --serve [--cpu]\n"
      "  --filter TEXT   only work whose name begins so: peak, gemm, gemm/512, attention, gpt, conv3x3 … (default: "
      "all)\n"
      "  --threads N,N   thread counts (default 1,2)\n"
      "  --seconds S     length of a measurement (default 1)\n"
      "  --json          one JSON list in place of a table\n"
      "  --cpu           processor time in place of time that passed\n"
      "  --serve         answer lines \"name threads seconds\" from standard input; 0 seconds: growth of memory\n"
      "Times are the minimum and the median of repeated calls; \"of limit\" is the share of what the multiply-add "
      "units\n"
      "or the memory, whichever binds, could do.");
  std::exit(code);
}

struct Settings {
  std::string filter;
  std::vector<int> threads{1, 2};
  double seconds = 1;
  bool json = false;
};

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    std::string const key = argv[i];
    if (key == "--json" || key == "--cpu") {
      (key == "--json" ? settings.json : bench::by_processor) = true;
      continue;
    }
    if (key == "--help" || i + 1 == argc) usage(key == "--help" ? 0 : 2);
    std::string const value = argv[++i];
    if (key == "--filter") {
      settings.filter = value;
    } else if (key == "--seconds") {
      settings.seconds = std::atof(value.c_str());
    } else if (key == "--threads") {
      settings.threads.clear();
      std::istringstream list(value);
      for (std::string each; std::getline(list, each, ',');)
        settings.threads.push_back(std::max(1, std::atoi(each.c_str())));
    } else {
      usage(2);
    }
  }
  return settings;
}

void show(Settings const& settings) {
  std::vector<std::string> lines;
  if (!settings.json) fmt::print("{:<28}{:>8}{:>12}{:>12}{:>10}\n", "work", "threads", "minimum", "median", "of limit");
  for (auto const& work : bench::works()) {
    if (!work.name.starts_with(settings.filter)) continue;
    Measured measured(work.make());
    for (int threads : settings.threads) {
      Result const r = measured(settings.seconds, threads);
      if (settings.json)
        lines.push_back(json(work.name, threads, r));
      else
        fmt::print("{:<28}{:>8}{:>12}{:>12}{:>10}\n", work.name, threads, duration(r.least), duration(r.median),
                   r.limit > 0 ? fmt::format("{:.0f} %", 100 * r.limit / r.least) : "");
      std::fflush(stdout);
    }
  }
  if (settings.json) fmt::print("[{}]\n", fmt::join(lines, ",\n "));
  if (settings.json || !std::string("peak").starts_with(settings.filter)) return;
  for (int threads : settings.threads)
    for (Isa level : all_isas())
      if (has_isa(level))
        fmt::print("peak/{:<23}{:>8}{:>16.1f} GFLOP/s\n", name(level), threads, bench::peak_gflops(level, threads));
  for (int threads : settings.threads)
    for (double bytes : {1e5, 4e6, 2e8})
      fmt::print("bandwidth/{:<18g}{:>8}{:>16.1f} GB/s\n", bytes, threads, bench::peak_gbytes(bytes, threads));
}

}  // namespace

int main(int argc, char** argv) try {
  std::string const first = argc > 1 ? argv[1] : "";
  if (first == "--start") {
    Tensor const a = ones({64, 64});
    return matmul(a, a).at(0, 0).item() == 64 ? 0 : 1;
  }
  if (first == "--serve") {
    bench::by_processor = argc > 2 && std::string(argv[2]) == "--cpu";
    serve();
  } else {
    show(parse(argc, argv));
  }
  return 0;
} catch (std::exception const& error) {
  std::fprintf(stderr, "heed-bench: %s\n", error.what());
  return 2;
}
