// NCCL's functions are there under the names that heed looks up. Nothing is sent: that needs two accelerators.
#include <doctest/doctest.h>
#include <heed/optim/distributed.h>
#include <heed/optim/distributed/nccl.h>

#include <cstdlib>

#include "../support/op_case.h"

using namespace heed;
using namespace heed::distributed;
using namespace heed::test;

TEST_CASE("the functions of NCCL that are used are in its library") {
  char const* const named = std::getenv("HEED_NCCL");
  std::string const library = named && *named ? named : "libnccl.so.2";
  std::vector<std::string> missing{"nothing was looked up"};
  std::string const said = error_of([&] { missing = missing_in_nccl(library); });
  if (!said.empty()) return skip("libnccl.so.2 is not here (tests/distributed/nccl.sh fetches it)");
  CHECK(missing == std::vector<std::string>{});
}

TEST_CASE("without NCCL or a device the communicator says what is missing") {
  run_ranks(1, [](Communicator& host) {
    std::string const said = error_of([&] { nccl(host, 0); });
    CHECK(said.find("nccl: ") == 0);
  });
}
