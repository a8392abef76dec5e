// Who this process is among the ranks, as its launcher says.
#pragma once

#include <string>

namespace heed::distributed {

struct Environment {
  int rank = 0, size = 1;
  /// Among the ranks on this machine: which accelerator is ours.
  int local_rank = 0, local_size = 1;
  /// The variable that says so ("OMPI_COMM_WORLD_RANK"); empty where none does.
  std::string source;
};

/// From OMPI_COMM_WORLD_* (Open MPI), PMI_* (MPICH, Intel MPI), MV2_COMM_WORLD_*, SLURM_* (inside a step of srun) or
/// RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, whichever comes first; one rank where none is set. An Error that
/// names the variable where they make no sense.
Environment environment();

}  // namespace heed::distributed
