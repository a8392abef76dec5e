// How a piece of work is timed, alike for heed and for its peers: it depends on the standard library alone.
#pragma once

#include <algorithm>
#include <chrono>
#include <ctime>
#include <vector>

namespace heed::bench {

inline bool by_processor = false;  // time is the processor's, for machines that are busy

inline double now() {
  if (by_processor) return double(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Turns of run() for about `seconds`, at least one, in seconds and from the shortest on; before them one that is not
/// counted, unless it is long and was there before. `last` is the last turn's length, 0 before the first.
template <class Run>
std::vector<double> take_turns(Run const& run, double seconds, double& last) {
  double begin = now();
  if (last < seconds / 4) {
    run();
    last = now() - begin;
  }
  std::vector<double> times;
  for (double const end = now() + seconds; times.empty() || now() + last / 2 < end;) {
    begin = now();
    run();
    times.push_back(last = now() - begin);
  }
  std::sort(times.begin(), times.end());
  return times;
}

}  // namespace heed::bench
