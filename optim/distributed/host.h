// Collectives over a carrier, for tensors of the processor.
#pragma once

#include <heed/optim/distributed/communicator.h>
#include <heed/optim/distributed/transport.h>

namespace heed::distributed {

/// Rank and size are the carrier's.
std::unique_ptr<Communicator> over(std::unique_ptr<Transport> transport, Options options = {});

/// In seconds, by the options and the environment.
double timeout_of(Options const& options);

/// A communicator of one rank, which needs no carrier.
std::unique_ptr<Communicator> one_rank(Options options = {});

}  // namespace heed::distributed
