// How ranks share work.
#pragma once

#include <cstdint>
#include <vector>

namespace heed::distributed {

/// Rows first … first + count − 1 of a batch.
struct Rows {
  int64_t first, count;
};
/// Those of `rank`, where `size` ranks share `total` rows: consecutive, and the first ranks get one more where they do
/// not divide. An Error where there are fewer rows than ranks.
Rows rows_of(int64_t total, int rank, int size);

/// The rank of each job, by what each costs: the largest first, each to the rank that has least to do (Graham, 1969),
/// of equals to the one with fewer jobs.
std::vector<int> shares_of(std::vector<double> const& costs, int ranks);

}  // namespace heed::distributed
