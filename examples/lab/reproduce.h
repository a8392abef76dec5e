// Published figures that this machine can measure again.
#pragma once

#include <cstdint>
#include <string>

namespace lab {

struct ReproduceSettings {
  bool quick = false;  // a part that takes a minute or two
  int64_t seed = 1;
  std::string out = "runs/reproduce";  // where results are kept, so that a run that was stopped goes on
};

// Each prints measured beside published, and returns how many cells disagree.
int reproduce_fast_weight(ReproduceSettings const& settings);
int reproduce_rank_collapse(ReproduceSettings const& settings);

}  // namespace lab
