// What stands behind a Pending.
#pragma once

#include <heed/optim/distributed/communicator.h>

namespace heed::distributed {

struct Pending::Work {
  virtual ~Work() = default;  // waits
  virtual Tensor wait() = 0;
  virtual bool done() const = 0;
};

}  // namespace heed::distributed
