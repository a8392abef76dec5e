// Ranks that are threads of this process: for tests, and to see what several ranks do in one debugger.
#pragma once

#include <heed/optim/distributed/communicator.h>

namespace heed::distributed {

/// f(communicator) on `size` threads, one a rank; returns when all have ended. Where ranks throw, the Error of the one
/// that threw first comes to the caller as "rank 1: …".
void run_ranks(int size, std::function<void(Communicator&)> const& f, Options options = {});

}  // namespace heed::distributed
