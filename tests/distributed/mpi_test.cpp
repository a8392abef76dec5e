// The same collectives under mpirun: the bits that threads give, and what becomes of ranks whose neighbour fails.
#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "../support/skip.h"
#include "exercise.h"

using namespace heed;
using namespace heed::distributed;
using namespace heed::test;

namespace {

#if defined(HEED_MPIEXEC)
bool has_mpi() {
  if (access(HEED_MPIEXEC, X_OK) == 0) return true;
  skip(HEED_MPIEXEC " is not here (Debian: openmpi-bin)");
  return false;
}

struct Outcome {
  int status;
  std::string said;
};

/// What `ranks` ranks of heed-ranks print.
Outcome mpirun(int ranks, std::string const& arguments, std::string const& environment = "") {
  std::string const command = "HEED_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 " +
                              environment + " timeout -s KILL 120 " HEED_MPIEXEC " --oversubscribe --bind-to none -n " +
                              std::to_string(ranks) + " " HEED_RANKS " " + arguments + " 2>&1 </dev/null";
  FILE* const pipe = popen(command.c_str(), "r");
  Outcome outcome{-1, ""};
  std::array<char, 4096> part;
  while (size_t const n = fread(part.data(), 1, part.size(), pipe)) outcome.said.append(part.data(), n);
  outcome.status = pclose(pipe);
  return outcome;
}

bool has(Outcome const& outcome, std::string const& part) { return outcome.said.find(part) != std::string::npos; }
#endif

}  // namespace

#if !defined(HEED_MPIEXEC)
TEST_CASE("collectives under mpirun") { skip("heed was built without MPI"); }
#else
TEST_CASE("ranks under mpirun get the bits that threads get, also in small messages") {
  if (!has_mpi()) return;
  for (int const ranks : {2, 3}) {
    std::vector<uint64_t> want(static_cast<size_t>(ranks));
    run_ranks(ranks, [&](Communicator& c) { want[size_t(c.rank())] = exercise(c, {0, 1, 33, 5003}); });
    for (std::string const largest : {"", " 1000"}) {
      Outcome const outcome = mpirun(ranks, "exercise 0,1,33,5003" + largest);
      INFO(outcome.said);
      CHECK(outcome.status == 0);
      for (int r = 0; r < ranks; ++r) {
        char line[64];
        std::snprintf(line, sizeof line, "rank %d of %d %016llx", r, ranks,
                      static_cast<unsigned long long>(want[size_t(r)]));
        CHECK(has(outcome, line));
      }
    }
  }
}

TEST_CASE("a rank that fails is named by the others, in time") {
  if (!has_mpi()) return;
  std::string const quick = "HEED_DISTRIBUTED_TIMEOUT=1";
  Outcome const threw = mpirun(3, "fail all_reduce throw 200", quick);
  INFO(threw.said);
  CHECK(threw.status != 0);
  CHECK(has(threw, "the disk is full"));
  Outcome const late = mpirun(2, "fail all_gather late 200", quick);
  INFO(late.said);
  CHECK(late.status != 0);
  CHECK(has(late, "rank 1 did not arrive at all_gather #"));
  Outcome const never = mpirun(2, "fail connect late 200", quick);
  INFO(never.said);
  CHECK(never.status != 0);
  CHECK(has(never, "not every rank came to connect() within 1 s: rank 1 did not"));
}

TEST_CASE("the environment and MPI must agree") {
  if (!has_mpi()) return;
  // As under a launcher whose MPI is another one: every process is alone.
  std::string const command =
      "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4 timeout -s KILL 60 " HEED_RANKS " bench 2>&1";
  FILE* const pipe = popen(command.c_str(), "r");
  std::array<char, 4096> part{};
  size_t const n = fread(part.data(), 1, part.size() - 1, pipe);
  CHECK(pclose(pipe) != 0);
  std::string const said(part.data(), n);
  INFO(said);
  CHECK(said.find("OMPI_COMM_WORLD_RANK says rank 1 of 4, MPI says rank 0 of 1") != std::string::npos);
}
#endif
