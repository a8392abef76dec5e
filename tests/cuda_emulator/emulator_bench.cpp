// Not a test: how long the samples take under the emulator.
#include <control.h>

#include <chrono>
#include <cstdio>

#include "samples.h"

int main() {
  namespace samples = heed::samples;
  heed::emu::settings();
  auto const time = [](char const* what, double per, char const* unit, auto const& work) {
    double best = 1e30;
    for (int i = 0; i < 3; ++i) {
      auto const begin = std::chrono::steady_clock::now();
      if (work() < 0) std::printf("failed: ");
      double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      if (seconds < best) best = seconds;
    }
    std::printf("%-24s %9.2f ms  %8.2f %s\n", what, best * 1e3, best * 1e9 / per, unit);
  };
  time("attention T=128", 1, "ns", [] { return samples::attention(1, 128); });
  time("attention T=512", 1, "ns", [] { return samples::attention(1, 512); });
  time("gemm 256^3", 2.0 * 256 * 256 * 256, "ns/flop", [] { return samples::gemm(256, 256, 256); });
  time("piped gemm 128^3", 2.0 * 128 * 128 * 128, "ns/flop", [] { return samples::piped_gemm(128, 128, 128); });
  time("axpy 2^20 x 4", 4 * 1048576.0, "ns/element", [] { return samples::axpy(1 << 20, 4); });
  time("sum 2^20", 1048576.0, "ns/element", [] { return samples::sum(1 << 20); });
}
