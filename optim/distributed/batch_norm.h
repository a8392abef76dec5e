// Batch norm over the rows of all ranks.
#pragma once

#include <heed/nn/norm/spread_rows.h>
#include <heed/optim/distributed/communicator.h>

namespace heed::distributed {

/// While it lives, norms over batches at and below `model` (batch norm, batch renorm, EvoNorm-B0) train, in this
/// thread, with statistics over the rows of all ranks, however many each has: what comes out, running statistics, and
/// the gradients of the sum of the ranks' losses are those of one process with the whole batch. Forward and backward of
/// such a layer are collectives then: every rank runs the same layers. Evaluation is each rank's own; second
/// derivatives are an Error. DataParallelOptions::synchronize_batch_norm makes one.
class SynchronizedBatchNorm final : public nn::SpreadRows {
 public:
  SynchronizedBatchNorm(nn::Module& model, Communicator& communicator);
  Tensor gather(Tensor const& x) override;

 private:
  Communicator& communicator_;
};

}  // namespace heed::distributed
