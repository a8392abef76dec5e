// heed-sweep: the largest errors of the elementary functions over all 2³² floats, one line a function.
//   heed-sweep [--stride N] [--only NAME[,NAME]] [--every-isa]
#include <fmt/format.h>
#include <heed/engine/isa.h>
#include <heed/tests/support/sweep.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>

int main(int argc, char** argv) {
  uint64_t stride = 1;
  std::string only;
  bool every_isa = false;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--every-isa")) {
      every_isa = true;
    } else if (!std::strcmp(argv[i], "--stride") && i + 1 < argc && std::atoll(argv[i + 1]) > 0) {
      stride = uint64_t(std::atoll(argv[++i]));
    } else if (!std::strcmp(argv[i], "--only") && i + 1 < argc) {
      only = fmt::format(",{},", argv[++i]);
    } else {
      fmt::print(stderr, "heed-sweep [--stride N] [--only NAME[,NAME]] [--every-isa]\n");
      return 2;
    }
  }
  bool good = true;
  fmt::print("{:10} {:9} {:>8} {:>16} {:>12} {:>12} {:>7} {:>8}\n", "function", "level", "ULP", "at", "absolute",
             "relative", "wrong", "seconds");
  for (heed::Isa level : heed::all_isas()) {
    if (!heed::has_isa(level) || (!every_isa && level != heed::isa())) continue;
    heed::set_isa(level);
    for (auto const& f : heed::test::swept_functions()) {
      if (!only.empty() && only.find(fmt::format(",{},", f.name)) == std::string::npos) continue;
      auto const start = std::chrono::steady_clock::now();
      auto const r = heed::test::sweep(f, stride);
      bool const within = r.beyond <= f.ulp && r.wrong == 0;
      good &= within;
      fmt::print("{:10} {:9} {:8.3f} {:16.8g} {:12.4g} {:12.4g} {:7} {:8.1f}{}\n", f.name, heed::name(level), r.ulp,
                 r.at, r.absolute, r.relative, r.wrong,
                 std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
                 within ? "" : "  beyond its bound");
      std::fflush(stdout);
    }
  }
  return good ? 0 : 1;
}
