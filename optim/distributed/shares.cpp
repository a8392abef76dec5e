#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/optim/distributed/shares.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace heed::distributed {

Rows rows_of(int64_t total, int rank, int size) {
  check(total >= size && rank >= 0 && rank < size, "rows_of", [&] {
    return Complaint{fmt::format("a batch of {} rows does not give each of {} ranks one", total, size),
                     "choose a larger batch, or start fewer ranks"};
  });
  int64_t const least = total / size, more = total % size;
  return {rank * least + std::min<int64_t>(rank, more), least + (rank < more ? 1 : 0)};
}

std::vector<int> shares_of(std::vector<double> const& costs, int ranks) {
  std::vector<size_t> order(costs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return costs[a] > costs[b]; });
  std::vector<std::pair<double, int64_t>> load(static_cast<size_t>(ranks));  // cost, jobs
  std::vector<int> rank(costs.size());
  for (size_t job : order) {
    auto const least = std::min_element(load.begin(), load.end());
    rank[job] = int(least - load.begin());
    least->first += costs[job];
    least->second += 1;
  }
  return rank;
}

}  // namespace heed::distributed
