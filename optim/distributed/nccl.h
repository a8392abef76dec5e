// A communicator for CUDA tensors over NVIDIA's NCCL, which is loaded at run time.
#pragma once

#include <heed/optim/distributed/communicator.h>

#include <string>
#include <vector>

namespace heed::distributed {

/// Collectives between CUDA device `device` of each rank (environment().local_rank, where each has one of its own).
/// `host`, over which the ranks meet and agree about every call, outlives it. The device finishes what it was given
/// before a collective starts, and send and receive go with the first wait() for one of them. Sums are in NCCL's order;
/// i16 can be moved, not reduced; tags are compared, not searched. An Error where libnccl.so.2 (or what HEED_NCCL
/// names) is not here.
///
/// Compiled and held against NCCL's symbols, but never run: no machine that builds heed has two accelerators.
std::unique_ptr<Communicator> nccl(Communicator& host, int device, Options options = {});

/// The functions of NCCL that are used and that `library` lacks; an Error where it cannot be loaded.
std::vector<std::string> missing_in_nccl(std::string const& library);

}  // namespace heed::distributed
