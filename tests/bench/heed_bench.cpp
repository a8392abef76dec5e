// heed-bench: how fast heed is here, one JSON object a line. tests/peers/compare.py runs it beside PyTorch.
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "peak.h"

extern char** environ;

namespace {

using namespace heed;

struct Settings {
  std::string filter;
  std::vector<int> threads{1, 2};
  double seconds = 2;  // a measurement
  std::string text;    // for the GPT step; random tokens where empty
};

struct Times {
  double least, median;  // seconds
  int count;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Calls `body` for about `seconds`, after a first call that is not counted.
Times measure(double seconds, std::function<void()> const& body) {
  body();
  std::vector<double> times;
  for (double const end = now() + seconds; times.size() < 5 || now() < end;) {
    double const start = now();
    body();
    times.push_back(now() - start);
  }
  std::sort(times.begin(), times.end());
  return {times.front(), times[times.size() / 2], int(times.size())};
}

/// Prints one measurement; `extra` is more JSON, beginning with a comma.
void print(char const* name, int threads, Times const& t, double per_call, char const* unit,
           std::string const& extra = {}) {
  double const scale = (std::string(unit) == "ns" ? 1e9 : 1e3) / per_call;
  std::printf(R"({"name":"%s","threads":%d,"unit":"%s","min":%.6g,"median":%.6g,"count":%d%s})"
              "\n",
              name, threads, unit, t.least * scale, t.median * scale, t.count, extra.c_str());
  std::fflush(stdout);
}

std::string number(char const* key, double value) {
  char text[64];
  std::snprintf(text, sizeof text, R"(,"%s":%.4g)", key, value);
  return text;
}

/// [n, n]·[n, n] in f32, nothing recorded.
void bench_gemm(Settings const& settings, int threads, int64_t n) {
  NoGrad const off;
  Tensor const a = randn({n, n}), b = randn({n, n});
  int const calls = int(std::max<int64_t>(1, 512 * 512 * 512 / (n * n * n)));
  Times const t = measure(settings.seconds, [&] {
    for (int i = 0; i < calls; ++i) matmul(a, b);
  });
  double const gflops = 2e-9 * double(n * n * n) * calls / t.least;
  print(("gemm/" + std::to_string(n)).c_str(), threads, t, calls, "ms",
        number("gflops", gflops) + number("limit_share", gflops / bench::peak_gflops(isa(), threads)));
}

/// Operations with kernels of their own kind, nothing recorded.
struct Kernel {
  char const* name;
  std::function<std::function<void()>()> prepare;
};
std::vector<Kernel> const& kernels_measured() {
  static std::vector<Kernel> const all{
      {"kernel/gather",
       [] {
         Tensor const x = randn({1000, 1000}), index = randint(0, 1000, {1000, 1000});
         return [=] { gather(x, 1, index); };
       }},
      {"kernel/rfft_pair",
       [] {
         Tensor const x = randn({64, 4096});
         return [=] { irfft(rfft(x)); };
       }},
      {"kernel/cummax",
       [] {
         Tensor const x = randn({1000, 1000});
         return [=] { cummax(x, 1); };
       }},
      {"kernel/sum_i64",
       [] {
         Tensor const x = randint(0, 100, {1000, 1000});
         return [=] { sum(x, {0}); };
       }},
      {"kernel/eigh",
       [] {
         Tensor const x = randn({128, 128}), symmetric = x + x.t();
         return [=] { eigh(symmetric); };
       }},
      {"kernel/svd",
       [] {
         Tensor const x = randn({128, 128});
         return [=] { svd(x, false); };
       }},
      {"kernel/depthwise",
       [] {
         Tensor const x = randn({8, 64, 56, 56}), w = randn({64, 1, 3, 3});
         return [=] { conv2d(x, w, {}, {.stride = {2, 2}, .padding = {1, 1}, .groups = 64}); };
       }},
  };
  return all;
}
void bench_kernel(Settings const& settings, int threads, Kernel const& kernel) {
  NoGrad const off;
  print(kernel.name, threads, measure(settings.seconds / 4, kernel.prepare()), 1, "ms");
}

/// y = x + x of one element, recorded; and a chain of 100 such adds with its backward.
void bench_small(Settings const& settings, int threads) {
  Tensor x = ones({1}), other = ones({1});
  x.requires_grad_();
  constexpr int adds = 1000, chain = 100;
  print("op/add_recorded", threads,
        measure(settings.seconds / 4,
                [&] {
                  for (int i = 0; i < adds; ++i) x + other;
                }),
        adds, "ns");
  print("op/add_chain_backward", threads,
        measure(settings.seconds / 4,
                [&] {
                  for (int r = 0; r < 10; ++r) {
                    Tensor y = x;
                    for (int i = 0; i < chain; ++i) y = y + other;
                    x.set_grad({});
                    y.backward();
                  }
                }),
        10 * chain, "ns");
}

/// scan() of eight heads of 64×64 over `steps`: forward, and with backward; no decay, one per head, one per channel,
/// and one per head with a delta rule.
void bench_scan(Settings const& settings, int threads, std::string const& name, std::string const& kind,
                int64_t steps) {
  Shape const rows{1, 8, steps, 64}, scalars{1, 8, steps};
  Tensor q = randn(rows), k = normalize(randn(rows), 2, -1), v = randn(rows), beta = rand(scalars);
  bool const delta = kind == "delta", channels = kind == "channels";
  ScanOptions options;
  if (kind != "linear") options.decay = rand(channels ? rows : scalars) * -0.1;
  auto const run = [&] { return delta ? delta_scan(q, k, v, beta, options).out : scan(q, k, v, options).out; };
  auto const report = [&](std::string const& name, Times const& t) {
    print(name.c_str(), threads, t, 1, "ms", number("tokens_per_second", double(steps) / t.least));
  };
  {
    NoGrad const off;
    report(name, measure(settings.seconds / 4, run));
  }
  std::vector<Tensor> operands{q, k, v};
  if (delta) operands.push_back(beta);
  if (options.decay) operands.push_back(options.decay);
  for (Tensor& t : operands) t.requires_grad_();
  Tensor const cotangent = randn(rows);
  report(name + "/training", measure(settings.seconds / 4, [&] { grad({run()}, operands, {cotangent}); }));
}

/// From exec to the end of a process that multiplies two 64×64 matrices.
void bench_start(Settings const& settings) {
  char program[] = "/proc/self/exe", command[] = "--start";
  char* const arguments[] = {program, command, nullptr};
  print("start/first_matmul", 1,
        measure(settings.seconds / 4,
                [&] {
                  pid_t child = 0;
                  if (posix_spawn(&child, program, nullptr, nullptr, arguments, environ) != 0) std::exit(1);
                  int status = 0;
                  waitpid(child, &status, 0);
                }),
        1, "ms");
}

/// One training step of nanoGPT's CPU configuration: forward, loss, gradients cleared, backward, AdamW.
void bench_gpt(Settings const& settings, int threads) {
  constexpr int64_t batch = 12, batches = 16;
  seed(1);
  nn::GPTConfig const config{.vocabulary = 65, .layers = 4, .heads = 4, .dim = 128, .block = 64};
  std::vector<int64_t> tokens;
  if (settings.text.empty()) {
    tokens = randint(0, config.vocabulary, {100'000}).to_vector<int64_t>();
  } else {
    std::ifstream file(settings.text, std::ios::binary);
    std::string const text{std::istreambuf_iterator<char>(file), {}};
    auto const vocabulary = optim::CharacterVocabulary::of(text);
    if (vocabulary.size() > config.vocabulary || text.empty()) {
      std::fprintf(stderr, "heed-bench: '%s' must hold 1 to 65 distinct characters\n", settings.text.c_str());
      std::exit(2);
    }
    tokens = vocabulary.encode(text);
  }
  optim::TokenDataset const data(std::move(tokens), config.block, 0.1);
  Generator draw(2);
  std::vector<optim::Batch> prepared;
  for (int64_t i = 0; i < batches; ++i) prepared.push_back(data.random_batch(batch, draw));

  nn::GPT model(config);
  optim::AdamW optimizer(optim::decay_matrices_only(model, 0.1), {.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.99});
  size_t next = 0;
  double last_loss = 0;
  Times const t = measure(settings.seconds, [&] {
    optim::Batch const& b = prepared[next++ % batches];
    Tensor const loss = cross_entropy(model(b.inputs), b.targets);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    last_loss = loss.item();
  });
  // 6·(N − T·d)·B·T for the weights, 6·L·d·T·B·T for causal attention.
  double const n = double(nn::count_parameters(model)), positions = double(batch * config.block);
  double const gflop = 1e-9 * (6 * (n - double(config.block * config.dim)) * positions +
                               6 * double(config.layers * config.dim * config.block) * positions);
  print("gpt/step", threads, t, 1, "ms",
        number("tokens_per_second", positions / t.least) + number("gflops", gflop / t.least) +
            number("limit_share", gflop / t.least / bench::peak_gflops(isa(), threads)) + number("loss", last_loss));
}

[[noreturn]] void usage(int code) {
  std::puts(
      "heed-bench [--filter TEXT] [--threads N[,N]] [--seconds S] [--text FILE]\n"
      "  --filter TEXT   only measurements whose name begins so: peak, gemm, gemm/512, kernel, op, scan, start, gpt\n"
      "                  (default: all)\n"
      "  --threads N,N   thread counts (default 1,2)\n"
      "  --seconds S     length of a measurement (default 2)\n"
      "  --text FILE     what the GPT step trains on, at most 65 distinct characters (default: random tokens)\n"
      "One JSON object a line; times are the minimum and the median of repeated calls.");
  std::exit(code);
}

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    std::string const key = argv[i];
    if (key == "--help" || i + 1 == argc) usage(key == "--help" ? 0 : 2);
    std::string const value = argv[++i];
    if (key == "--filter")
      settings.filter = value;
    else if (key == "--seconds")
      settings.seconds = std::atof(value.c_str());
    else if (key == "--text")
      settings.text = value;
    else if (key == "--threads") {
      settings.threads.clear();
      for (size_t from = 0; from < value.size(); from = std::min(value.find(',', from), value.size() - 1) + 1)
        settings.threads.push_back(std::max(1, std::atoi(value.c_str() + from)));
    } else
      usage(2);
  }
  return settings;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 2 && std::string(argv[1]) == "--start") {
    Tensor const a = ones({64, 64});
    return matmul(a, a).at(0, 0).item() == 64 ? 0 : 1;
  }
  Settings const settings = parse(argc, argv);
  auto wanted = [&](std::string const& name) {
    return name.starts_with(settings.filter) || settings.filter.starts_with(name + "/");
  };
  for (int threads : settings.threads) {
    set_thread_count(threads);
    if (wanted("peak"))
      for (Isa level : all_isas())
        if (has_isa(level))
          std::printf(R"({"name":"peak/%s","threads":%d,"unit":"GFLOP/s","max":%.4g})"
                      "\n",
                      std::string(name(level)).c_str(), threads, bench::peak_gflops(level, threads));
    for (int64_t n : {128, 512, 1024})
      if (std::string const each = "gemm/" + std::to_string(n); wanted("gemm") && each.starts_with(settings.filter))
        bench_gemm(settings, threads, n);
    for (Kernel const& kernel : kernels_measured())
      if (std::string(kernel.name).starts_with(settings.filter)) bench_kernel(settings, threads, kernel);
    if (wanted("op")) bench_small(settings, threads);
    if (wanted("scan"))
      for (char const* kind : {"linear", "decay", "channels", "delta"})
        for (int64_t steps : {512, 4096, 65536})
          if (std::string const each = std::string("scan/") + kind + "/" + std::to_string(steps);
              each.starts_with(settings.filter))
            bench_scan(settings, threads, each, kind, steps);
    if (wanted("gpt")) bench_gpt(settings, threads);
  }
  if (wanted("start")) bench_start(settings);
  return 0;
} catch (std::exception const& error) {
  std::fprintf(stderr, "heed-bench: %s\n", error.what());
  return 2;
}
