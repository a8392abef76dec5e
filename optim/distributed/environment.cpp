#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/optim/distributed/environment.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace heed::distributed {
namespace {

std::optional<int> number(char const* name) {
  char const* const text = name ? std::getenv(name) : nullptr;
  if (!text || !*text) return std::nullopt;
  int value = 0;
  char const* const end = text + std::strlen(text);
  auto const [stop, error] = std::from_chars(text, end, value);
  check(error == std::errc{} && stop == end && value >= 0, "environment", [&] {
    return Complaint{fmt::format("{} is '{}', expected a whole number", name, text), "unset it, or start by mpirun"};
  });
  return value;
}

struct Launcher {
  char const *rank, *size, *local_rank, *local_size;
};
constexpr Launcher launchers[] = {
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", nullptr},
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}};

}  // namespace

Environment environment() {
  for (Launcher const& launcher : launchers) {
    // A batch script that srun did not start has SLURM_PROCID too, but is no rank: steps alone have
    // SLURM_STEP_NUM_TASKS.
    auto const rank = number(launcher.rank), size = number(launcher.size);
    if (!rank || !size) continue;
    check(*rank < *size, "environment", [&] {
      return Complaint{fmt::format("{} is {} and {} is {}: ranks run from 0 to size - 1", launcher.rank, *rank,
                                   launcher.size, *size),
                       "unset both, or start by mpirun"};
    });
    Environment found{*rank, *size, 0, 1, launcher.rank};
    // Without a local rank every rank is taken to be on a machine of its own.
    found.local_rank = number(launcher.local_rank).value_or(0);
    found.local_size = number(launcher.local_size).value_or(found.local_rank + 1);
    return found;
  }
  return {};
}

}  // namespace heed::distributed
