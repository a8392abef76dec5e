// heed-growth: time and memory of attention and scans as sequences grow, forward and backward.
//   heed-growth [--most T]       (default 65536; dense attention stops at an eighth of it)
#include <fmt/format.h>
#include <heed/engine/engine.h>

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

}  // namespace

int main(int argc, char** argv) try {
  int64_t most = 65536;
  if (argc == 3 && !std::strcmp(argv[1], "--most") && std::atoll(argv[2]) >= 512) {
    most = std::atoll(argv[2]);
  } else if (argc != 1) {
    fmt::print(stderr, "heed-growth [--most T]: time and memory of sequences of 512 to T positions\n");
    return 2;
  }
  fmt::print("{} heads of {}, f32, forward + backward; MiB at the peak beyond the operands\n\n", heads, width);
  fmt::print("{:24} {:>8} {:>10} {:>14} {:>8}\n", "work", "T", "ms", "ns a position", "MiB");
  for (Work const& work : works())
    for (int64_t t = 512; t <= most / work.most_divided_by; t *= 2) {
      Tensor const k = normalize(randn({1, heads, t, width}), 2, -1).requires_grad_();
      Tensor const q = randn({1, heads, t, width}).requires_grad_(), v = randn({1, heads, t, width}).requires_grad_();
      Tensor const g = randn({1, heads, t, width});
      double best = 1e30;
      size_t peak = 0;
      for (int round = 0; round < (t <= 8192 ? 3 : 2); ++round) {
        size_t const before = memory_statistics().in_use;
        reset_peak_memory();
        auto const start = std::chrono::steady_clock::now();
        auto const d = grad({work.run(q, k, v)}, {q, k, v}, {g});
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        peak = memory_statistics().peak - before;
      }
      fmt::print("{:24} {:8} {:10.1f} {:14.0f} {:8.1f}\n", work.name, t, best * 1e3, best * 1e9 / double(t),
                 double(peak) / (1 << 20));
      std::fflush(stdout);
    }
  return 0;
} catch (Error const& e) {
  fmt::print(stderr, "heed-growth: {}\n", e.what());
  return 1;
}
