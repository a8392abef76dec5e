#include <dlfcn.h>
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/optim/distributed/environment.h>
#include <heed/optim/distributed/host.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace heed::distributed {
namespace {

/// MPI's part of the library is a module of its own (mpi.cpp), so that one program runs with and without MPI.
using Open = Transport* (*)(double timeout, char* why, size_t room);

Open find_mpi(std::string& why) {
  std::string const name = "libheed_mpi.so";
  std::error_code ignored;
  auto const folder = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  std::vector<std::string> paths{folder / name, folder / "../lib" / name, folder / "../bin" / name, name};
  char const* const given = std::getenv("HEED_MPI_MODULE");
  if (given && *given) paths = {given};
  void* module = nullptr;
  for (std::string const& path : paths)
    // Open MPI's own modules look for its symbols among the program's.
    if (!module) module = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!module) {
    why = fmt::format("heed's MPI module is not here ({})", dlerror());
    return nullptr;
  }
  auto* const open = reinterpret_cast<Open>(dlsym(module, "heed_mpi_transport"));
  if (!open) why = "the file loaded as heed's MPI module is none";
  return open;
}

}  // namespace

std::unique_ptr<Communicator> connect(Options options) {
  Environment const here = environment();
  if (here.size == 1) return one_rank(options);
  std::string why;
  Open const open = find_mpi(why);
  check(open, "connect", [&] {
    return Complaint{fmt::format("{} says that this is rank {} of {}, but {}", here.source, here.rank, here.size, why),
                     "build heed with MPI (libopenmpi-dev), or start one rank"};
  });
  char said[400] = {};
  std::unique_ptr<Transport> transport(open(timeout_of(options), said, sizeof said));
  check(bool(transport), "connect", [&] {
    return Complaint{
        fmt::format("rank {} of {}: {}", here.rank, here.size, said),
        "see what the other ranks printed; where ranks need longer, raise HEED_DISTRIBUTED_TIMEOUT (seconds)"};
  });
  check(transport->size() == here.size && transport->rank() == here.rank, "connect", [&] {
    return Complaint{
        fmt::format("{} says rank {} of {}, MPI says rank {} of {}", here.source, here.rank, here.size,
                    transport->rank(), transport->size()),
        "start the program with the launcher of the MPI that heed was built with (mpirun, srun --mpi=pmix)"};
  });
  return over(std::move(transport), options);
}

}  // namespace heed::distributed
