// heed-growth: time and memory of attention and scans as sequences grow, forward and backward.
//   heed-growth [--most T]               (default 65536; dense attention stops at an eighth of it)
//   heed-growth --kinds all|A;B [T …]    (layers by name, beside multi-head attention; default 1024 4096 16384)
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

using namespace heed;

namespace {

constexpr int64_t heads = 4, width = 64;

struct Work {
  char const* name;
  int64_t most_divided_by;
  std::function<Tensor(Tensor const& q, Tensor const& k, Tensor const& v)> run;
};

std::vector<Work> works() {
  auto const gates = [](Tensor const& q) { return full({1, heads, q.size(2)}, -0.05); };
  return {
      {"dense, causal", 8,
       [](Tensor const& q, Tensor const& k, Tensor const& v) { return attend(q, k, v, {.causal = true}).out; }},
      {"window 256", 1,
       [](Tensor const& q, Tensor const& k, Tensor const& v) {
         return attend(q, k, v, {.causal = true, .left = 255}).out;
       }},
      {"window 256 as a lambda", 1,
       [](Tensor const& q, Tensor const& k, Tensor const& v) {
         return attend(q, k, v, {.sees = [](auto at) { return (at.j <= at.i) & (at.i - at.j < 256.); }}).out;
       }},
      {"documents of 512", 1,
       [](Tensor const& q, Tensor const& k, Tensor const& v) {
         Tensor const ids = floor(arange(q.size(2)).to(Dtype::f32) / 512.0).unsqueeze(0);
         return attend(q, k, v, {.causal = true, .sees = documents(ids)}).out;
       }},
      {"scan, a decay a head", 1,
       [=](Tensor const& q, Tensor const& k, Tensor const& v) { return scan(q, k, v, {.decay = gates(q)}).out; }},
      {"scan, delta rule", 1,
       [=](Tensor const& q, Tensor const& k, Tensor const& v) {
         return delta_scan(q, k, v, full({1, heads, q.size(2)}, 0.5), {.decay = gates(q)}).out;
       }},
  };
}

struct Cost {
  double seconds = 1e30;
  size_t peak = 0;  // bytes beyond what was there
};

/// The best of `rounds` passes, forward and backward.
Cost cost_of(int rounds, std::function<void()> const& pass) {
  Cost cost;
  for (int round = 0; round < rounds; ++round) {
    size_t const before = memory_statistics().in_use;
    reset_peak_memory();
    auto const start = std::chrono::steady_clock::now();
    pass();
    cost.seconds =
        std::min(cost.seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    cost.peak = memory_statistics().peak - before;
  }
  return cost;
}

constexpr int64_t model_width = 256;

Cost cost_of_layer(std::string_view text, int64_t t) {
  nn::Traits const traits = nn::traits_of(text);
  seed(1);
  auto layer = nn::make_attention(
      text, {.dim = model_width, .heads = heads, .causal = traits.causal, .block = t, .layer = 1, .layers = 2});
  nn::bind_paths(*layer, "layer");
  Tensor const x = randn({1, t, model_width}).requires_grad_(), g = randn({1, t, model_width});
  Tensor first = randn({1, layer->config.kv_heads, t, layer->config.head_dim()});
  return cost_of(t <= 4096 ? 3 : 1, [&] {
    nn::zero_grad(*layer);
    x.set_grad({});
    Tensor const y = (*layer)(x, {.first_values = &first});
    sum(y * (traits.pools ? g.slice(1, 0, y.size(1)) : g)).backward();
  });
}

/// A table: kinds × lengths, in ms, as a multiple of multi-head attention's, and in MiB.
void compare_kinds(std::vector<std::string> const& kinds, std::vector<int64_t> const& lengths) {
  fmt::print(
      "layers of width {}, {} heads, batch 1, f32, forward + backward: ms, multiple of multi-head's, MiB at the "
      "peak beyond parameters and x\n\n{:28}",
      model_width, heads, "kind");
  for (int64_t t : lengths) fmt::print("{:>27}", fmt::format("T = {}", t));
  fmt::print("\n");
  std::vector<Cost> dense;
  for (int64_t t : lengths) dense.push_back(cost_of_layer("multi-head", t));
  double const memory = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE));
  for (std::string const& kind : kinds) {
    fmt::print("{:28}", kind);
    bool const holds_maps = nn::traits_of(kind).memory == nn::Growth::quadratic;
    double a_pair = 0;  // bytes for each of the T² pairs, as the last length had it
    for (size_t i = 0; i < lengths.size(); ++i) {
      double const pairs = double(lengths[i]) * double(lengths[i]), expected = a_pair * pairs;
      if (expected > memory / 3) {
        fmt::print("{:>27}", fmt::format("needs {:.0f} GiB", expected / (1 << 30)));
        continue;
      }
      Cost const cost = cost_of_layer(kind, lengths[i]);
      if (holds_maps) a_pair = double(cost.peak) / pairs;
      fmt::print("{:>27}", fmt::format("{:.1f}  {:.2f}x {:8.1f}", cost.seconds * 1e3, cost.seconds / dense[i].seconds,
                                       double(cost.peak) / (1 << 20)));
      std::fflush(stdout);
    }
    fmt::print("\n");
  }
}

std::vector<std::string> kinds_named(std::string_view text) {
  std::vector<std::string> kinds;
  if (text == "all") {
    for (nn::AttentionRow const& row : nn::attentions()) kinds.emplace_back(row.name);
    return kinds;
  }
  while (!text.empty()) {
    size_t const end = std::min(text.find(';'), text.size());
    kinds.emplace_back(text.substr(0, end));
    text = text.substr(std::min(end + 1, text.size()));
  }
  return kinds;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc >= 3 && !std::strcmp(argv[1], "--kinds")) {
    std::vector<int64_t> lengths;
    for (int i = 3; i < argc; ++i) lengths.push_back(std::atoll(argv[i]));
    compare_kinds(kinds_named(argv[2]), lengths.empty() ? std::vector<int64_t>{1024, 4096, 16384} : lengths);
    return 0;
  }
  int64_t most = 65536;
  if (argc == 3 && !std::strcmp(argv[1], "--most") && std::atoll(argv[2]) >= 512) {
    most = std::atoll(argv[2]);
  } else if (argc != 1) {
    fmt::print(stderr, "heed-growth [--most T] | --kinds all|A;B [T ...]: time and memory as sequences grow\n");
    return 2;
  }
  fmt::print("{} heads of {}, f32, forward + backward; MiB at the peak beyond the operands\n\n", heads, width);
  fmt::print("{:24} {:>8} {:>10} {:>14} {:>8}\n", "work", "T", "ms", "ns a position", "MiB");
  for (Work const& work : works())
    for (int64_t t = 512; t <= most / work.most_divided_by; t *= 2) {
      Tensor const k = normalize(randn({1, heads, t, width}), 2, -1).requires_grad_();
      Tensor const q = randn({1, heads, t, width}).requires_grad_(), v = randn({1, heads, t, width}).requires_grad_();
      Tensor const g = randn({1, heads, t, width});
      auto const [best, peak] = cost_of(t <= 8192 ? 3 : 2, [&] { grad({work.run(q, k, v)}, {q, k, v}, {g}); });
      fmt::print("{:24} {:8} {:10.1f} {:14.0f} {:8.1f}\n", work.name, t, best * 1e3, best * 1e9 / double(t),
                 double(peak) / (1 << 20));
      std::fflush(stdout);
    }
  return 0;
} catch (Error const& e) {
  fmt::print(stderr, "heed-growth: {}\n", e.what());
  return 1;
}
