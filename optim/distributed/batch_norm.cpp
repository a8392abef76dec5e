#include <heed/engine/ops.h>
#include <heed/optim/distributed/batch_norm.h>
#include <heed/optim/distributed/flat.h>
#include <heed/optim/distributed/gathered.h>

namespace heed::distributed {

SynchronizedBatchNorm::SynchronizedBatchNorm(nn::Module& model, Communicator& communicator)
    : communicator_(communicator) {
  if (communicator.size() > 1) nn::spread_rows(model, *this);
}

Tensor SynchronizedBatchNorm::gather(Tensor const& x) {
  return gathered(communicator_, carried(x, communicator_)).to(x.device());
}

}  // namespace heed::distributed
