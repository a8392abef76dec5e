#include <heed/engine/ops.h>
#include <heed/optim/distributed/batch_norm.h>
#include <heed/optim/distributed/gathered.h>

namespace heed::distributed {

SynchronizedBatchNorm::SynchronizedBatchNorm(nn::Module& model, Communicator& communicator)
    : communicator_(communicator) {
  if (communicator.size() > 1) nn::spread_rows(model, *this);
}

Tensor SynchronizedBatchNorm::gather(Tensor const& x) {
  return gathered(communicator_, x.to(communicator_.device())).to(x.device());
}

}  // namespace heed::distributed
