// One-element operations through libtorch's C++ interface, without Python's cost: compare.py builds and runs it.
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

static double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static void measure(char const* name, double seconds, int per_call, std::function<void()> const& body) {
  body();
  std::vector<double> times;
  for (double const end = now() + seconds; times.size() < 5 || now() < end;) {
    double const start = now();
    body();
    times.push_back(now() - start);
  }
  std::sort(times.begin(), times.end());
  std::printf(R"({"name":"%s","threads":1,"min":%.6g,"median":%.6g,"count":%d})"
              "\n",
              name, times.front() * 1e9 / per_call, times[times.size() / 2] * 1e9 / per_call, int(times.size()));
}

int main(int argc, char** argv) {
  double const seconds = argc > 1 ? std::atof(argv[1]) : 1;
  torch::set_num_threads(1);
  torch::Tensor x = torch::ones({1}, torch::requires_grad()), other = torch::ones({1});
  measure("op/add_recorded", seconds, 1000, [&] {
    for (int i = 0; i < 1000; ++i) torch::Tensor const y = x + other;
  });
  measure("op/add_chain_backward", seconds, 1000, [&] {
    for (int r = 0; r < 10; ++r) {
      torch::Tensor y = x;
      for (int i = 0; i < 100; ++i) y = y + other;
      x.mutable_grad() = torch::Tensor();
      y.backward();
    }
  });
}
