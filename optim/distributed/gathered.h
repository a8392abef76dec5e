// all_gather as an operation of the tape, and of texts.
#pragma once

#include <heed/engine/tensor.h>
#include <heed/optim/distributed/communicator.h>

#include <string>
#include <vector>

namespace heed::distributed {

/// x [n, …] → [size·n, …] on every rank; a row's gradient is the sum over ranks. Second derivatives are an Error.
Tensor gathered(Communicator& communicator, Tensor const& x);
/// The text of every rank, whatever their lengths.
std::vector<std::string> gathered(Communicator& communicator, std::string const& text);

}  // namespace heed::distributed
