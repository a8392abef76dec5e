// The pieces of work that heed-bench times and tests/peers/compare.py sets beside the peers.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace heed::bench {

/// A piece of work, its inputs made. `flop` and `bytes` are what the mathematics needs of one piece: causal halves, a
/// window counts its entries, every operand and result moves once in each direction that needs it.
struct Work {
  std::function<void()> run;  // `pieces` pieces
  double flop = 0, bytes = 0;
  double pieces = 1;
};

struct NamedWork {
  std::string name;  // family/size
  std::function<Work()> make;
};

std::vector<NamedWork> const& works();

}  // namespace heed::bench
