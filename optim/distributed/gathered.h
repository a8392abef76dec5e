// all_gather as an operation of the tape.
#pragma once

#include <heed/engine/tensor.h>
#include <heed/optim/distributed/communicator.h>

namespace heed::distributed {

/// x [n, …] → [size·n, …] on every rank; a row's gradient is the sum over ranks. Second derivatives are an Error.
Tensor gathered(Communicator& communicator, Tensor const& x);

}  // namespace heed::distributed
